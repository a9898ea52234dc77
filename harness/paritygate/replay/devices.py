"""The devices of a mesh layout, of one process or of several: arrays put on them, and whether what comes back lies, and
agrees, as it must.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from paritygate.core.cell import MeshLayout
from paritygate.core.codec import canonical
from paritygate.core.errors import InfrastructureError

_copy = jax.jit(jnp.copy)
_TYPES = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


@dataclass(frozen=True)
class Grid:
    """A mesh layout on the first devices that there are, of each process as many."""

    layout: MeshLayout
    mesh: Mesh

    @classmethod
    def of(cls, layout: MeshLayout) -> "Grid":
        """Raises InfrastructureError where there are fewer devices."""
        each = layout.devices // jax.process_count()
        of_process: dict[int, list[Any]] = defaultdict(list)
        for device in jax.devices():
            of_process[device.process_index].append(device)
        devices = [device for number in sorted(of_process) for device in of_process[number][:each]]
        if len(devices) < layout.devices:
            there = ", ".join(f"{len(some)} {some[0]}" for some in of_process.values())
            raise InfrastructureError("too few devices", where=layout.name, expected=str(layout.devices), got=there)
        names, sizes = zip(*layout.axes, strict=True)
        types = (_TYPES[layout.types],) * len(names)
        return cls(layout, jax.make_mesh(sizes, names, axis_types=types, devices=devices))

    def put(self, array: np.ndarray | jax.Array, logical: Sequence[str]) -> jax.Array:
        """The array on the devices, split as the rules say of dimensions with these logical axes."""
        return jax.device_put(array, self._sharding(logical, array.shape))

    def wrong(self, value: jax.Array, placed: Sequence[str]) -> str:
        """How a value lies otherwise than promised, or where copies of it differ; empty where neither.

        `placed` are the logical axes of its dimensions; none where nothing is promised.
        """
        if found := copies_differ(value):
            return found
        if not placed:
            return ""
        promised = self._sharding(["" if name == "-" else name for name in placed], value.shape)
        if value.sharding.is_equivalent_to(promised, value.ndim):
            return ""
        return f"it lies as {_words(value.sharding)}, where the rules promise {_words(promised)}"

    def _sharding(self, logical: Sequence[str], shape: Sequence[int]) -> NamedSharding:
        split = self.layout.split(logical, shape)
        return NamedSharding(self.mesh, PartitionSpec(*((axes or None) for axes in split)))


def misplaced(grid: Grid, tree: Any, placed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What of a tree of arrays lies otherwise than it should, by path, and how.

    `placed` are the logical axes of their dimensions by pattern (fnmatch) of the path; what matches none is held to
    equal copies only.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path)
        promised = next((axes for pattern, axes in placed.items() if fnmatchcase(name, pattern)), "")
        if why := grid.wrong(leaf, promised.split()):
            yield name, why


def copies_differ(value: jax.Array) -> str:
    """Which devices hold the same part of an array in other bits: `copies on devices 0 and 2 differ at (1, 4)`."""
    if not value.is_fully_addressable:
        return _copies_of_processes_differ(value)
    parts: dict[str, list[jax.Shard]] = defaultdict(list)
    for shard in value.addressable_shards:
        parts[str(shard.index)].append(shard)
    for first, *others in parts.values():
        if not others:
            continue
        one = np.ascontiguousarray(first.data)
        for other in others:
            two = np.ascontiguousarray(other.data)
            if one.tobytes() != two.tobytes():
                at = _first_difference(one, two)
                return f"copies on devices {first.device.id} and {other.device.id} differ, first at {at} of their part"
    return ""


def _copies_of_processes_differ(value: jax.Array) -> str:
    """By the digest of what each device holds. Every process asks, and is told the same."""
    # JAX cannot list the shards of an array that `device_put` moved whole from one process to all; of a copy it can.
    value = _copy(value)
    held = value.sharding.devices_indices_map(value.shape)
    digests = np.zeros((len(held), 16), np.uint8)
    at = {device: place for place, device in enumerate(held)}
    for shard in value.addressable_shards:
        data = hashlib.blake2b(np.ascontiguousarray(shard.data).tobytes(), digest_size=16).digest()
        digests[at[shard.device]] = np.frombuffer(data, np.uint8)
    digests = np.asarray(multihost_utils.process_allgather(digests)).max(axis=0)  # zeros but from one process
    first: dict[str, Any] = {}
    for device, index in held.items():
        other = first.setdefault(str(index), device)
        if (digests[at[device]] != digests[at[other]]).any():
            where = f", of processes {other.process_index} and {device.process_index}"
            return f"copies on devices {other.id} and {device.id} differ{where}"
    return ""


def whole(value: jax.Array | np.ndarray) -> np.ndarray:
    """All of an array, in every process: what others hold of it is gathered."""
    if isinstance(value, jax.Array) and not (value.is_fully_addressable or value.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(value, tiled=True))
    return np.asarray(value)


def join(processes: int, number: str, coordinator: str) -> None:
    """Makes this process one of several that share their devices; before JAX has started."""
    if coordinator.startswith("127."):  # nobody else is to reach it, nor is there a cluster to ask
        jax.distributed.initialize(
            coordinator,
            processes,
            int(number),
            coordinator_bind_address=coordinator,
            cluster_detection_method="deactivate",
        )
    else:
        jax.distributed.initialize(coordinator, processes, int(number))


class Together:
    """What processes of one worker say, as one: the first says it all, the others what they are, and how they end.

    Of a case in a cell nothing is said until all processes are through with it: where one of them is lost, what the
    others make of that is no result of the candidate's.
    """

    def __init__(self, emit: Callable[[str, Any], None]):
        self._emit = emit
        self._pair = ("", "")
        self._held: list[tuple[str, Any]] = []

    def __call__(self, kind: str, value: Any) -> None:
        if kind == "record":
            _agree({name: value[name] for name in ("python", "versions", "candidate")})
        pair = (value.get("case") or value.get("name", "").partition(" ")[0], value.get("cell", ""))
        if pair != self._pair:
            multihost_utils.sync_global_devices(f"{kind} {pair}")
            for each in self._held:
                self._emit(*each)
            self._pair, self._held = pair, []
        if not pair[1]:
            self._emit(kind, value)
        elif jax.process_index() == 0:
            self._held.append((kind, value))


def _agree(what: Mapping[str, Any]) -> None:
    """Raises InfrastructureError where processes are not the same in this: what they compute together is of none."""
    digest = np.frombuffer(hashlib.blake2b(canonical(what).encode(), digest_size=16).digest(), np.uint8)
    first, *others = np.asarray(multihost_utils.process_allgather(digest))
    for number, other in enumerate(others, 1):
        if (other != first).any():
            raise InfrastructureError(
                "process has other versions or another candidate than process 0",
                where=f"process {number}",
                got=f"{canonical(what)} in process {jax.process_index()}",
            )


def _first_difference(one: np.ndarray, two: np.ndarray) -> tuple[int, ...]:
    bits = [each.reshape(-1).view(np.uint8).reshape(each.size, each.itemsize) for each in (one, two)]
    first = int(np.any(bits[0] != bits[1], axis=1).argmax())
    return tuple(int(i) for i in np.unravel_index(first, one.shape))


def _words(sharding: jax.sharding.Sharding) -> str:
    """The mesh axes of each dimension, `(fsdp, -, tp)`; a sharding of another kind in its own words."""
    if not isinstance(sharding, NamedSharding):
        return str(sharding)
    entries = ("+".join(entry) if isinstance(entry, tuple) else entry or "-" for entry in sharding.spec)
    return f"({', '.join(entries)})"
