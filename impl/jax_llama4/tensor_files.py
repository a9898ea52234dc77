"""Folders of safetensors as HF writes them: reads headers first and tensors one at a time, writes all or nothing."""

import collections
import dataclasses
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONFIG_FILE = "config.json"

# The format's names of the types that JAX and NumPy can hold. Importing jax.numpy registers bfloat16 and fp8.
_NAME_OF_CODE = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_CODE_OF_NAME = {name: code for code, name in _NAME_OF_CODE.items()}

_LENGTH_BYTES = 8
# The format's own limit on the length of a header, and what the first tensor is aligned to here.
_MAX_HEADER_BYTES = 100_000_000
_ALIGNED_BYTES = 64


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. Indexing maps its bytes, and its alone, into memory for as long as the result lives."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    file: Path
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.memmap(self.file, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)[index]


def read_folder(folder: Path, problems: list[str]) -> list[StoredTensor]:
    """Every tensor of a folder by its header; what is wrong with the files is added to `problems`, one line each.

    An index decides which files count. Without one it is `model.safetensors`, else all `*.safetensors`.
    """
    if not folder.is_dir():
        problems.append(f"{folder}: expected a folder with {CONFIG_FILE} and *.safetensors")
        return []
    if (folder / INDEX_FILE).exists():
        if (folder / SINGLE_FILE).exists():
            problems.append(f"{SINGLE_FILE} and {INDEX_FILE}: expected one of them, which is the checkpoint?")
        return _read_indexed(folder, problems)
    single = folder / SINGLE_FILE
    files = [single] if single.exists() else sorted(folder.glob("*.safetensors"))
    if not files:
        problems.append(f"{folder}: expected *.safetensors files, found none")
    problems += _missing_numbers(files)
    return [tensor for file in files for tensor in read_header(file, problems)]


def _read_indexed(folder: Path, problems: list[str]) -> list[StoredTensor]:
    try:
        placed: dict[str, str] = json.loads((folder / INDEX_FILE).read_text())["weight_map"]
        files = sorted(set(placed.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"{INDEX_FILE}: expected JSON with a weight_map from tensors to files ({error!r})")
        return []
    found: list[StoredTensor] = []
    for name in files:
        if (folder / name).is_file():
            found += read_header(folder / name, problems)
        else:
            lost = [tensor for tensor, file in placed.items() if file == name]
            problems.append(f"{name}: missing file, the index places {len(lost)} tensors in it, such as {lost[0]}")
    held = {(tensor.name, tensor.file.name) for tensor in found}
    read = {tensor.file.name for tensor in found}
    problems += [
        f"{name}: the index places it in {file}, which does not hold it"
        for name, file in placed.items()
        if file in read and (name, file) not in held
    ]
    problems += [
        f"{tensor.name}: {tensor.file.name} holds it, the index "
        + (f"places it in {placed[tensor.name]}" if tensor.name in placed else "does not name it")
        for tensor in found
        if placed.get(tensor.name) != tensor.file.name
    ]
    return found


def _missing_numbers(files: Sequence[Path]) -> list[str]:
    """Shards that the numbers in the other shards' names speak of."""
    names = {file.name for file in files}
    expected: dict[str, None] = {}
    for name in sorted(names):
        if found := re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})\.safetensors", name):
            stem, _, count = found.groups()
            expected |= dict.fromkeys(_shard_name(stem, i, int(count)) for i in range(1, int(count) + 1))
    return [f"{name}: missing file, other shards are there" for name in expected if name not in names]


def _shard_name(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05d}-of-{count:05d}.safetensors"


def read_header(file: Path, problems: list[str]) -> list[StoredTensor]:
    """The tensors of one file, held against its length; tensors that cannot be read are left out."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        begin = _LENGTH_BYTES + header_bytes
        if size < _LENGTH_BYTES or header_bytes > _MAX_HEADER_BYTES or begin > size:
            problems.append(f"{file.name}: truncated, or no safetensors file: {size} bytes, its header {header_bytes}")
            return []
        raw = stream.read(header_bytes)
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated.extend(name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    try:
        header = json.loads(raw, object_pairs_hook=unique)
        header.pop("__metadata__", None)
    except (ValueError, AttributeError) as error:
        problems.append(f"{file.name}: its header is not a JSON object ({error})")
        return []
    problems += [f"{name}: given twice in {file.name}" for name in repeated]

    found: list[StoredTensor] = []
    end = begin
    for name, entry in header.items():
        try:
            first, last = entry["data_offsets"]
            dtype = np.dtype(_NAME_OF_CODE[entry["dtype"]])
            tensor = StoredTensor(name, tuple(entry["shape"]), dtype, file, begin + first)
            consistent = first >= 0 and last - first == tensor.nbytes
        except (KeyError, TypeError, ValueError):
            problems.append(f"{name}: {file.name} has an entry that cannot be read, {entry}")
            continue
        if not consistent:
            problems.append(f"{name}: {file.name} gives {last - first} bytes to {dtype.name} {tensor.shape}")
            continue
        end = max(end, begin + last)
        found.append(tensor)
    if size != end:
        problems.append(f"{file.name}: {'truncated' if size < end else 'too long'}, expected {end} bytes, got {size}")
    return found


@dataclasses.dataclass(frozen=True)
class NewTensor:
    """A tensor to be written; `blocks` gives its values in order, in pieces of any length."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterable[np.ndarray]]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Sequence[NewTensor],
    max_shard_bytes: int,
    written: Callable[[NewTensor], None] = lambda tensor: None,
) -> None:
    """Write `config.json` and the tensors, in one file or in numbered shards with an index.

    Everything is first written and flushed beside the folder. A new folder then appears by one rename. In an existing
    one the old checkpoint goes first and `config.json` comes last, so that an interruption leaves the old checkpoint,
    the new one, or a folder that no loader accepts; other files in it are kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(8)}.partial"
    draft.mkdir()
    try:
        shards = _shards(tensors, max_shard_bytes)
        names = (
            [SINGLE_FILE]
            if len(shards) == 1
            else [_shard_name("model", i + 1, len(shards)) for i in range(len(shards))]
        )
        for name, shard in zip(names, shards, strict=True):
            _write_file(draft / name, shard, written)
        if len(shards) > 1:
            placed = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
            total = {
                "total_parameters": sum(math.prod(tensor.shape) for tensor in tensors),
                "total_size": sum(tensor.nbytes for tensor in tensors),
            }
            _write_json(draft / INDEX_FILE, {"metadata": total, "weight_map": dict(sorted(placed.items()))})
        _write_json(draft / CONFIG_FILE, config)
        _flush_folder(draft)
        _publish(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
    else:
        old = [
            file for file in folder.glob("model*.safetensors") if re.fullmatch(r"model(-\d{5}-of-\d{5})?", file.stem)
        ]
        for file in (folder / CONFIG_FILE, folder / INDEX_FILE, *old):
            file.unlink(missing_ok=True)
        _flush_folder(folder)
        for file in sorted(draft.iterdir(), key=lambda file: file.name == CONFIG_FILE):
            file.rename(folder / file.name)
        _flush_folder(folder)
    _flush_folder(folder.parent)


def _shards(tensors: Sequence[NewTensor], max_shard_bytes: int) -> list[list[NewTensor]]:
    """Tensors in order, a new shard where the next one would not fit; a larger tensor has a shard to itself."""
    shards: list[list[NewTensor]] = [[]]
    room = max_shard_bytes
    for tensor in tensors:
        if shards[-1] and tensor.nbytes > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(tensor)
        room -= tensor.nbytes
    return shards


def _write_file(file: Path, tensors: Sequence[NewTensor], written: Callable[[NewTensor], None]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # HF refuses files without it
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        code = _CODE_OF_NAME[tensor.dtype.name]
        header[tensor.name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(_LENGTH_BYTES + len(raw)) % _ALIGNED_BYTES)
    with file.open("wb") as stream:
        stream.write(len(raw).to_bytes(_LENGTH_BYTES, "little") + raw)
        for tensor in tensors:
            before = stream.tell()
            for block in tensor.blocks():
                stream.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
            if stream.tell() - before != tensor.nbytes:
                raise ValueError(f"{tensor.name}: expected {tensor.nbytes} bytes, wrote {stream.tell() - before}")
            written(tensor)
        stream.flush()
        os.fsync(stream.fileno())


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    with file.open("w") as stream:
        stream.write(json.dumps(value, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make renames in a folder last; systems that cannot open a folder have no such call."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
