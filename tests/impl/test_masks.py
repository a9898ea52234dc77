"""Masks against tables of 0 and 1 that can be checked by eye: rows are queries, columns are keys."""

import jax.numpy as jnp
import numpy as np

from jax_llama4 import Llama4TextConfig, Llama4TextMasks, causal_mask, chunked_mask


def table(text: str) -> np.ndarray:
    return np.array([[int(cell) for cell in row] for row in text.split()], dtype=bool)


def full(padding: str) -> np.ndarray:
    return np.asarray(causal_mask(jnp.asarray(table(padding)), jnp.arange(len(padding))))[0]


def chunked(padding: str, size: int = 3) -> np.ndarray:
    return np.asarray(chunked_mask(jnp.asarray(table(padding)), jnp.arange(len(padding)), size))[0]


def test_full_mask_is_causal():
    expected = """
        1000
        1100
        1110
        1111
    """
    np.testing.assert_array_equal(full("1111"), table(expected))


def test_full_mask_hides_padding_wherever_it_is():
    expected = """
        00000
        01000
        01000
        01010
        01010
    """
    np.testing.assert_array_equal(full("01010"), table(expected))


def test_chunks_are_blocks_not_a_sliding_window():
    expected = """
        1000000
        1100000
        1110000
        0001000
        0001100
        0001110
        0000001
    """
    np.testing.assert_array_equal(chunked("1111111"), table(expected))


def test_chunks_start_at_the_first_real_token():
    expected = """
        00000000
        00000000
        00100000
        00110000
        00111000
        00000100
        00000110
        00000111
    """
    np.testing.assert_array_equal(chunked("00111111"), table(expected))


def test_a_hole_hides_its_keys_but_moves_no_boundary():
    expected = """
        1000000
        1000000
        1010000
        0001000
        0001000
        0001010
        0000001
    """
    np.testing.assert_array_equal(chunked("1011011"), table(expected))


def test_right_padding_moves_no_boundary():
    expected = """
        10000
        11000
        11100
        00010
        00010
    """
    np.testing.assert_array_equal(chunked("11110"), table(expected))


def test_a_row_of_padding_only_sees_nothing():
    np.testing.assert_array_equal(chunked("0000"), np.zeros((4, 4), dtype=bool))


def test_rows_of_a_batch_have_their_own_origin():
    padding = jnp.asarray(table("0111 1111"))
    found = np.asarray(chunked_mask(padding, jnp.arange(4), 2))
    np.testing.assert_array_equal(found[0], table("0000 0100 0110 0001"))
    np.testing.assert_array_equal(found[1], table("1000 1100 0010 0011"))


def test_query_slots_may_be_a_later_part_of_the_row():
    found = chunked_mask(jnp.ones((1, 6), dtype=bool), jnp.arange(4, 6, dtype="int32"), 3)
    np.testing.assert_array_equal(np.asarray(found)[0], table("000110 000111"))


def test_the_module_gives_one_mask_per_attention_type():
    config = Llama4TextConfig(attention_chunk_size=2)
    padding, slots = jnp.ones((1, 5), dtype=bool), jnp.arange(5)
    found = Llama4TextMasks(config)(padding, slots)
    assert set(found) == {"full_attention", "chunked_attention"}
    np.testing.assert_array_equal(found["full_attention"], causal_mask(padding, slots))
    np.testing.assert_array_equal(found["chunked_attention"], chunked_mask(padding, slots, 2))


def test_without_a_chunk_size_there_is_no_chunked_mask():
    config = Llama4TextConfig(num_hidden_layers=1, attention_chunk_size=None, layer_types=["full_attention"])
    assert set(Llama4TextMasks(config)(jnp.ones((1, 2), dtype=bool), jnp.arange(2))) == {"full_attention"}
