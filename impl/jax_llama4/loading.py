"""HF's tensors to a model and back, one at a time: reads name → tensor pairs, fills and reads parameters."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jax_llama4.checkpoint import (
    PROJECTOR,
    TEXT,
    VISION,
    CheckpointError,
    Parameter,
    abstract_model,
    default_class,
    is_known,
    parameters,
    shardings_of,
)
from jax_llama4.config import Llama4TextConfig
from jax_llama4.config_base import Config
from jax_llama4.config_multimodal import Llama4Config
from jax_llama4.precision import Numerics
from jax_llama4.sharding import Placement
from jax_llama4.tensor_files import NewTensor, StoredTensor, read_folder

Tensor = np.ndarray | StoredTensor

# Where HF's files sit in a multimodal one: this one itself, a causal language model's, and those of the bare models.
FILE_ROOTS = ("", TEXT, TEXT + "model.", VISION)
PARTS = (TEXT, VISION, PROJECTOR)
# Heads of the classes: one that a class does not have is no concern of it.
HEADS = (TEXT + "lm_head.weight", TEXT + "score.weight")

# Where JAX takes a NumPy array over on a CPU instead of copying it.
_ALIGNED_BYTES = 64
_TILE = 256


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a checkpoint is read or written; `name` is the tensor just done."""

    name: str
    tensors: int
    total_tensors: int
    nbytes: int
    total_bytes: int


ProgressCallback = Callable[[Progress], None]


def load_state_dict(
    config: Config, state: Mapping[str, Any], numerics: Numerics, model_class: Any = None, **options: Any
) -> Any:
    """Build the model with the tensors of `state`; see `load_tensors`."""
    return load_tensors(config, state.items(), numerics, model_class, **options)


def load_tensors(
    config: Config,
    named_tensors: Iterable[tuple[str, Any]],
    numerics: Numerics,
    model_class: Any = None,
    *,
    placement: Placement | None = None,
    progress: ProgressCallback | None = None,
    problems: Sequence[str] = (),
    **options: Any,
) -> Any:
    """Build `model_class`, `default_class(config)` if None, with these tensors, cast to `numerics.param` by NumPy.

    Names are those of any of HF's files, of which the class takes its part. Tensors are arrays or StoredTensors; the
    latter are read one at a time, and on a mesh only the parts that this process holds. `options` go to the
    constructor. Raises CheckpointError with everything at once, `problems` of an earlier step included: tensors
    missing, unexpected, given twice, of a wrong shape or kind. Raises ShardingError.
    """
    model = abstract_model(model_class or default_class(config), config, numerics, **options)
    wanted = parameters(model)
    found = list(problems)
    given = _as_tensors(named_tensors, found)
    names = _Names(_file_root(given, model.checkpoint_root), model.checkpoint_root)
    tensors = {names.multimodal(name): tensor for name, tensor in given.items()}
    if isinstance(config, Llama4TextConfig | Llama4Config) and config.get_text_config().tie_word_embeddings:
        _drop_tied_copy(tensors, names, found)
    tensors = {name: tensor for name, tensor in tensors.items() if name in wanted or names.concerns_the_class(name)}
    if wanted.keys() & tensors.keys():
        found += _misfits(tensors, wanted, names)
    else:
        there = f"such as {next(iter(given))}" if given else "none at all"
        found.append(
            f"not one of the {len(wanted)} tensors of {type(model).__name__} is there, such as "
            f"{names.shown(next(iter(wanted)))}, but {len(given)} others, {there}"
        )
    if found:
        raise CheckpointError(found)

    placed = shardings_of(wanted, config, placement) if placement is not None else {}
    total_bytes = sum(tensor.nbytes for tensor in tensors.values())
    done_bytes = 0
    for done, name in enumerate(sorted(tensors, key=lambda name: _place_in_files(tensors[name])), start=1):
        tensor, parameter = tensors[name], wanted[name]
        _fill(parameter, tensor, numerics.param, placed.get(parameter.own_path))
        done_bytes += tensor.nbytes
        if progress is not None:
            progress(Progress(names.shown(name), done, len(tensors), done_bytes, total_bytes))
    return model


def _place_in_files(tensor: Tensor) -> tuple[str, int]:
    return (str(tensor.file), tensor.offset) if isinstance(tensor, StoredTensor) else ("", 0)


def _as_tensors(pairs: Iterable[tuple[str, Any]], problems: list[str]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in pairs:
        tensor = value if isinstance(value, StoredTensor) else np.asarray(value)
        if name in tensors:
            problems.append(f"{name}: given twice, {tensors[name].shape} and {tensor.shape}")
        tensors[name] = tensor
    return tensors


def _file_root(names: Iterable[str], class_root: str) -> str:
    """Where a file sits in a multimodal one: where most of its names are known, the class's own place before others."""
    names = list(names)
    return max((class_root, *FILE_ROOTS), key=lambda root: sum(is_known(root + name) for name in names))


@dataclasses.dataclass(frozen=True)
class _Names:
    """Names of tensors in a file, and in the multimodal file, given where the file and the class sit in the latter."""

    file_root: str
    class_root: str

    def multimodal(self, name: str) -> str:
        return self.file_root + name

    def shown(self, name: str) -> str:
        """A multimodal file's name as this file has it, or as a file of the class would."""
        return name.removeprefix(self.file_root if name.startswith(self.file_root) else self.class_root)

    def concerns_the_class(self, name: str) -> bool:
        """False in the other parts of a multimodal file, and for the head of another class."""
        root = self.class_root
        other_parts = tuple(part for part in PARTS if not part.startswith(root) and not root.startswith(part))
        return name not in HEADS and not name.startswith(other_parts)


def _drop_tied_copy(tensors: dict[str, Tensor], names: _Names, problems: list[str]) -> None:
    """HF: leaves the tied head out of its files, but names it in `state_dict()`; a true copy is accepted."""
    tied, source = TEXT + "lm_head.weight", TEXT + "model.embed_tokens.weight"
    head, table = tensors.pop(tied, None), tensors.get(source)
    if head is None or table is None:
        return
    rows = range(0, head.shape[0] if head.shape else 0, _TILE)
    if head.shape != table.shape or not all(np.array_equal(head[i : i + _TILE], table[i : i + _TILE]) for i in rows):
        differs = f"{names.shown(tied)}: differs from {names.shown(source)}"
        problems.append(f"{differs}, but tie_word_embeddings is set")


def _misfits(tensors: Mapping[str, Tensor], wanted: Mapping[str, Parameter], names: _Names) -> list[str]:
    shown = names.shown
    problems = [
        f"{shown(name)}: missing, expected {parameter.stored_shape}"
        for name, parameter in wanted.items()
        if name not in tensors
    ]
    problems += [f"{shown(name)}: unexpected, {tensor.shape}" for name, tensor in tensors.items() if name not in wanted]
    for name, tensor in tensors.items():
        if name not in wanted:
            continue
        if tensor.shape != wanted[name].stored_shape:
            problems.append(f"{shown(name)}: expected shape {wanted[name].stored_shape}, got {tensor.shape}")
        elif not jnp.issubdtype(tensor.dtype, jnp.floating):
            problems.append(f"{shown(name)}: expected floating values, got {tensor.dtype.name}")
    return problems


def _fill(parameter: Parameter, tensor: Tensor, dtype: np.dtype, sharding: Any) -> None:
    """Put one tensor into its parameter, or into its row of a stacked one, and wait until it is there."""
    variable, row = parameter.variable, parameter.row
    if row is None:
        variable.set_value(_put(tensor, parameter, dtype, sharding))
    else:
        stack = variable.get_value()
        if isinstance(stack, jax.ShapeDtypeStruct):
            stack = jnp.zeros(stack.shape, dtype, device=sharding)
        of_row = None if sharding is None else _without_first(sharding)
        variable.set_value(_set_row(sharding)(stack, _put(tensor, parameter, dtype, of_row), row))
    jax.block_until_ready(variable[...])


def _without_first(sharding: NamedSharding) -> NamedSharding:
    """The sharding of a row of what is stacked."""
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


@functools.cache
def _set_row(sharding: Any) -> Callable[[jax.Array, jax.Array, int], jax.Array]:
    """Write a row into a stack that is given away, so that no second stack is made."""

    def set_row(stack: jax.Array, value: jax.Array, row: int) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(stack, value, row, 0)

    return jax.jit(set_row, donate_argnums=0, out_shardings=sharding)


def _put(tensor: Tensor, parameter: Parameter, dtype: np.dtype, sharding: Any) -> jax.Array:
    """One tensor as a parameter: on a mesh each different block is read once and sent to the devices that hold it."""
    transposed = parameter.rule.transform == "transpose"
    if sharding is None:
        return jax.device_put(_block(tensor, (), transposed, dtype))
    blocks: dict[str, tuple[Any, list[Any]]] = {}
    for device, index in sharding.addressable_devices_indices_map(parameter.shape).items():
        blocks.setdefault(str(index), (index, []))[1].append(device)
    parts: list[jax.Array] = []
    for index, devices in blocks.values():
        block = _block(tensor, index, transposed, dtype)
        parts += [jax.device_put(block, device) for device in devices]
        jax.block_until_ready(parts)  # so that the block can go before the next one comes
    return jax.make_array_from_single_device_arrays(parameter.shape, sharding, parts)


def _block(tensor: Tensor, index: tuple[slice, ...], transposed: bool, dtype: np.dtype) -> np.ndarray:
    """A part of a parameter, `index` in its own layout, in memory that nothing else refers to."""
    part = tensor[index[::-1]].T if transposed else tensor[index]
    count = part.size * dtype.itemsize
    memory = np.empty(count + _ALIGNED_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNED_BYTES
    block = memory[start : start + count].view(dtype).reshape(part.shape)
    if transposed:
        # By tiles, which is more than twice as fast as in one go: both sides stay in the cache.
        for i in range(0, part.shape[0], _TILE):
            for j in range(0, part.shape[1], _TILE):
                block[i : i + _TILE, j : j + _TILE] = part[i : i + _TILE, j : j + _TILE]
    else:
        block[...] = part
    return block


def to_state_dict(model: Any) -> dict[str, np.ndarray]:
    """The model's parameters under HF's names and layouts, in the dtype they are held in."""
    return {tensor.name: np.concatenate([*tensor.blocks()]).reshape(tensor.shape) for tensor in tensors_to_write(model)}


def tensors_to_write(model: Any) -> list[NewTensor]:
    """What HF's file of this model holds, its values fetched only when they are asked for."""
    return [
        NewTensor(
            name.removeprefix(model.checkpoint_root),
            parameter.stored_shape,
            np.dtype(parameter.variable.dtype),
            functools.partial(_stored_blocks, parameter),
        )
        for name, parameter in parameters(model).items()
    ]


def _stored_blocks(parameter: Parameter) -> Iterator[np.ndarray]:
    value = parameter.variable[...]
    if not value.is_fully_addressable:
        raise ValueError(f"{parameter.own_path}: other processes hold parts of it, gather it before saving")
    # A copy of this one, because an array keeps the host copy that is made of it for as long as it lives.
    value = np.asarray(jnp.copy(value) if parameter.row is None else value[parameter.row])
    value = value.T if parameter.rule.transform == "transpose" else value
    for i in range(0, value.shape[0], _TILE):
        yield np.ascontiguousarray(value[i : i + _TILE])


def read_safetensors(folder: str | Path) -> Iterator[tuple[str, StoredTensor]]:
    """Every tensor of a folder by name, unread; a name held by two files comes twice. Raises CheckpointError."""
    problems: list[str] = []
    tensors = read_folder(Path(folder), problems)
    if problems:
        raise CheckpointError(problems)
    return ((tensor.name, tensor) for tensor in tensors)
