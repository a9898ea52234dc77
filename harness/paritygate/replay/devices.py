"""The devices of a mesh layout: arrays put on them, and whether what comes back lies, and agrees, as it must."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from paritygate.core.cell import MeshLayout
from paritygate.core.errors import InfrastructureError

_TYPES = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


@dataclass(frozen=True)
class Grid:
    """A mesh layout on the first devices that there are."""

    layout: MeshLayout
    mesh: Mesh

    @classmethod
    def of(cls, layout: MeshLayout) -> "Grid":
        """Raises InfrastructureError where there are fewer devices."""
        devices = jax.devices()
        if len(devices) < layout.devices:
            raise InfrastructureError(
                "too few devices", where=layout.name, expected=str(layout.devices), got=f"{len(devices)} {devices[0]}"
            )
        names, sizes = zip(*layout.axes, strict=True)
        types = (_TYPES[layout.types],) * len(names)
        return cls(layout, jax.make_mesh(sizes, names, axis_types=types, devices=devices[: layout.devices]))

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
        return f"lies as {_words(value.sharding)}, where the rules promise {_words(promised)}"

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


def _first_difference(one: np.ndarray, two: np.ndarray) -> tuple[int, ...]:
    bits = [each.reshape(-1).view(np.uint8).reshape(each.size, each.itemsize) for each in (one, two)]
    first = int(np.any(bits[0] != bits[1], axis=1).argmax())
    return tuple(int(i) for i in np.unravel_index(first, one.shape))


def _words(sharding: jax.sharding.Sharding) -> str:
    """`batch×fsdp` has no names here: a spec, `(fsdp, -, tp)`; of a sharding of another kind its own words."""
    if not isinstance(sharding, NamedSharding):
        return str(sharding)
    entries = ("+".join(entry) if isinstance(entry, tuple) else entry or "-" for entry in sharding.spec)
    return f"({', '.join(entries)})"
