"""Objects: every dtype survives bit for bit, equal tensors are one file, and damage is found."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritygate.core.errors import GoldenError
from paritygate.core.golden import TensorRef
from paritygate.store.objects import ALIGNMENT, ObjectStore, encode

DTYPES = [
    np.float64,
    np.float32,
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
    np.int64,
    np.int32,
    np.int8,
    np.uint8,
    np.bool_,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5), (3, 4, 5)], ids=str)
def test_round_trip_is_bit_exact(tmp_path, dtype, shape):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    store = ObjectStore(tmp_path)
    ref = store.put(array)
    got = store.get(ref)
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert got.tobytes() == array.tobytes()


def test_nan_and_signed_zero_survive(tmp_path):
    array = np.array([np.nan, -0.0, np.inf, -np.inf, 5e-324])
    store = ObjectStore(tmp_path)
    assert store.get(store.put(array)).tobytes() == array.tobytes()


@given(st.integers(0, 200), st.sampled_from(["float64", "int8"]))
def test_data_starts_aligned_and_the_header_is_safetensors(length, dtype):
    content = encode(np.zeros(length, dtype))
    (size,) = struct.unpack("<Q", content[:8])
    assert (8 + size) % ALIGNMENT == 0
    (entry,) = json.loads(content[8 : 8 + size]).values()
    assert entry["shape"] == [length]
    assert entry["data_offsets"] == [0, len(content) - 8 - size]


def test_the_official_reader_reads_it(tmp_path):
    from safetensors.numpy import load_file

    array = np.arange(6.0).reshape(2, 3)
    store = ObjectStore(tmp_path)
    path = store.path(store.put(array).object)
    assert np.array_equal(load_file(path)["tensor"], array)


def test_equal_tensors_are_stored_once_and_views_do_not_matter(tmp_path):
    store = ObjectStore(tmp_path)
    array = np.arange(12.0).reshape(3, 4)
    assert store.put(array) == store.put(np.asfortranarray(array)) == store.put(array.T.copy().T)
    assert len(store.names()) == 1
    assert store.put(array.reshape(4, 3)).object != store.put(array).object


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match="complex128 cannot be stored; known: float64"):
        ObjectStore(tmp_path).put(np.zeros(2, complex))


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("at", [0, 9, 60, 64, -1])
def test_any_flipped_bit_is_found(tmp_path, at):
    store = ObjectStore(tmp_path)
    ref = store.put(np.arange(8.0))
    assert store.check(ref.object) == ""
    flip(store.path(ref.object), at)
    assert "corrupt" in store.check(ref.object)


def test_put_repairs_a_damaged_object(tmp_path):
    store = ObjectStore(tmp_path)
    ref = store.put(np.arange(8.0))
    flip(store.path(ref.object), 70)
    assert store.put(np.arange(8.0)) == ref
    assert store.check(ref.object) == ""


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "bytes"),
        (lambda path: path.write_bytes(b""), "no whole header"),
        (lambda path: path.write_bytes(b"\xff" * 64), "no whole header"),
    ],
    ids=["missing", "truncated", "empty", "no header"],
)
def test_reading_a_damaged_object_is_a_golden_error(tmp_path, damage, says):
    store = ObjectStore(tmp_path)
    ref = store.put(np.arange(8.0))
    damage(store.path(ref.object))
    with pytest.raises(GoldenError, match="missing or corrupt") as caught:
        store.get(ref)
    assert says in caught.value.got
    assert "golden verify" in caught.value.try_


def test_a_ref_that_lies_about_the_shape_is_refused(tmp_path):
    store = ObjectStore(tmp_path)
    ref = store.put(np.arange(8.0))
    with pytest.raises(GoldenError, match=r"holds float64 \(8,\)"):
        store.get(TensorRef(ref.object, "float64", (2, 4)))
