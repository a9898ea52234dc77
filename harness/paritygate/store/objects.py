"""Content-addressed tensors: one safetensors file each, named by the sha256 of the file. Reads and writes `objects/`.

The data of a file starts at a multiple of 64, so that its memory map needs no copy on the way to a device. Our own
reader and writer, since the usual ones lose or refuse bfloat16 and fp8 without torch.
"""

import hashlib
import json
import math
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

from paritygate.core.errors import GoldenError
from paritygate.core.golden import TensorRef
from paritygate.core.run import write_atomic

ALIGNMENT = 64
TENSOR = "tensor"  # the one key inside a file
_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_NAMES = {code: name for name, code in _CODES.items()}


def dtype_of(name: str) -> np.dtype:
    """The NumPy dtype of a name such as `bfloat16`, the ml_dtypes ones included."""
    return np.dtype(getattr(ml_dtypes, name, name))


def encode(array: np.ndarray) -> bytes:
    """The file of one tensor, byte for byte the same for equal tensors. Raises ValueError on a dtype it cannot hold."""
    code = _CODES.get(array.dtype.name)
    if code is None:
        raise ValueError(f"dtype {array.dtype} cannot be stored; known: {', '.join(_CODES)}")
    data = np.ascontiguousarray(array).tobytes()
    return _head(code, array.shape, len(data)) + data


def _head(code: str, shape: tuple[int, ...], data_bytes: int) -> bytes:
    """All of a file before its data."""
    header = json.dumps(
        {TENSOR: {"dtype": code, "shape": list(shape), "data_offsets": [0, data_bytes]}}, separators=(",", ":")
    ).encode()
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    return struct.pack("<Q", len(header)) + header


def size_of(ref: TensorRef) -> int:
    """The bytes of a tensor's file. Raises ValueError on a dtype or a shape that no object has."""
    if ref.dtype not in _CODES or len(ref.shape) > 64 or any(not 0 <= length < 2**63 for length in ref.shape):
        raise ValueError(f"no object is {ref.dtype[:40]} {str(ref.shape)[:80]}")
    data_bytes = math.prod(ref.shape) * dtype_of(ref.dtype).itemsize
    return len(_head(_CODES[ref.dtype], ref.shape, data_bytes)) + data_bytes


def ref_of(array: np.ndarray) -> TensorRef:
    """What a tensor would be stored as."""
    return TensorRef(hashlib.sha256(encode(array)).hexdigest(), array.dtype.name, tuple(array.shape))


class ObjectStore:
    """The folder `objects/`: `put` and `get` tensors, `check` their files."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name[:2] / f"{name}.safetensors"

    def put(self, array: np.ndarray) -> TensorRef:
        """Stores a tensor once; a damaged file of the same name is replaced."""
        ref = ref_of(array)
        if self.check(ref.object):
            write_atomic(self.path(ref.object), encode(array))
        return ref

    def get(self, ref: TensorRef) -> np.ndarray:
        """A read-only memory map of the tensor. Raises GoldenError where the file is missing or not what `ref` says."""
        path = self.path(ref.object)
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if 8 + length > size:
                    raise ValueError(f"has {size} bytes and no whole header")
                header = json.loads(file.read(length))[TENSOR]
            dtype = dtype_of(_NAMES[header["dtype"]])
            shape = tuple(header["shape"])
            if (dtype.name, shape) != (ref.dtype, ref.shape):
                raise ValueError(f"holds {dtype.name} {shape}")
            if size != 8 + length + math.prod(shape) * dtype.itemsize:
                raise ValueError(f"has {size} bytes")
        except (OSError, ValueError, KeyError, TypeError) as reason:
            raise GoldenError(
                "object is missing or corrupt",
                where=str(path),
                expected=f"{ref.dtype} {ref.shape}",
                got=str(reason),
                try_="paritygate golden verify",
            ) from reason
        if math.prod(shape) == 0:
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", offset=8 + length, shape=shape)

    def check(self, name: str) -> str:
        """What is wrong with an object's file: empty where its bytes hash to its name."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                found, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        except FileNotFoundError:
            return "missing"
        except OSError as reason:
            return f"unreadable ({reason.strerror})"
        return "" if found == name else f"corrupt: its {size} bytes do not hash to its name"

    def names(self) -> list[str]:
        """Every object in the folder."""
        return sorted(path.stem for path in self.root.glob("??/*.safetensors"))

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)
