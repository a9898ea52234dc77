"""Places of a value in the words of its family."""

import doctest

import pytest

from paritygate.core import where
from paritygate.core.where import Block, Where, listed, ordinal

CHUNK = Block("T", "chunk", "attention_chunk_size")


def test_the_examples_hold():
    assert doctest.testmod(where).failed == 0


@pytest.mark.parametrize(
    ("pattern", "places", "words"),
    [
        ("from", (8,), "from the first token of the second chunk on"),
        ("from", (9,), ""),
        ("at", (7, 15, 23), "at the last token of chunks of 8"),
        ("at", (8, 16), "at the first token of chunks of 8"),
        ("at", (8,), ""),
        ("at", (8, 17), ""),
        ("between", (16, 23), "in the third chunk"),
        ("between", (8, 23), ""),
        ("between", (9, 16), ""),
        ("to", (7,), "up to the end of the first chunk"),
        ("to", (8,), ""),
    ],
)
def test_tokens_in_chunks(pattern, places, words):
    assert CHUNK.words(Where("T", pattern, places, 38, 1.0), 8) == words
    assert CHUNK.words(Where("S", pattern, places, 38, 1.0), 8) == "", "keys are no tokens"
    assert CHUNK.words(Where("T", pattern, places, 38, 1.0), 1) == "", "a block of one has no inside"


def test_ordinals():
    assert [ordinal(i) for i in (0, 9, 10, 11, 20, 21, 22, 110)] == [
        "first", "tenth", "11th", "12th", "21st", "22nd", "23rd", "111th",
    ]  # fmt: skip


def test_lists():
    assert [listed(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_an_axis_without_a_word_keeps_its_letter():
    assert Where("Q", "at", (3,), 9, 1.0).words == "at index of axis Q 3"
