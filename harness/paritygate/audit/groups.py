"""Which devices a collective joins, as its program prints it, and which axes of a mesh that are."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np

Groups = tuple[tuple[int, ...], ...]
_IOTA = re.compile(r"\[(?P<shape>[\d,]+)\]<=\[(?P<from>[\d,]+)\](?:T\((?P<order>[\d,]+)\))?")
# Where the devices of XLA's mesh are in another order: an iota of this shape, transposed.
_ORDER = re.compile(r"device_ids=\(\[(?P<from>[\d,]+)\](?:T\((?P<order>[\d,]+)\))?\)")
_MESH = re.compile(r"mesh\[(?P<axes>[^\]]*)\](?P<rest>.*)$")
_AXIS = re.compile(r"'(?P<name>[^']+)'=(?P<size>\d+)")
# An axis, or a part of one: 'x':(2)4 are the 4 parts of x behind its first 2.
_REF = re.compile(r"'(?P<name>[^']+)'(?::\((?P<before>\d+)\)(?P<size>\d+))?")


def groups_of(text: str, devices: int) -> Groups | None:
    """The groups of `replica_groups`, in any form that XLA prints; None where the form is not known.

    `{{0,1},{2,3}}`; `[2,4]<=[4,2]T(1,0)`; `mesh['a'=2,'b'=4] {'a'}`; `{}` is one group of all.
    """
    text = text.strip()
    if text == "{}":
        return (tuple(range(devices)),)
    if text.startswith("{"):
        return tuple(_numbers(group) for group in re.findall(r"\{([\d,\s]+)\}", text))
    if found := _IOTA.fullmatch(text):
        return _rows(_transposed(found).reshape(_numbers(found["shape"])))
    if found := _MESH.match(text):
        return _of_mesh(found)
    return None


def pairs_of(text: str) -> Groups:
    """The pairs of `source_target_pairs`: `{{0,1},{1,0}}`."""
    return tuple(_numbers(pair) for pair in re.findall(r"\{([\d,\s]+)\}", text))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _transposed(found: re.Match[str]) -> np.ndarray:
    ids = np.arange(prod(_numbers(found["from"]))).reshape(_numbers(found["from"]))
    return ids.transpose(_numbers(found["order"])) if found["order"] else ids


def _rows(ids: np.ndarray) -> Groups:
    return tuple(tuple(int(number) for number in row) for row in ids.reshape(-1, ids.shape[-1]))


def _of_mesh(found: re.Match[str]) -> Groups | None:
    """The mesh is XLA's own, its axes are `axis_0`: only its groups say anything of the program's mesh."""
    sizes = {each["name"]: int(each["size"]) for each in _AXIS.finditer(found["axes"])}
    ids = np.arange(prod(sizes.values()))
    if "device_ids" in found["rest"]:
        if other := _ORDER.search(found["rest"]):
            ids = _transposed(other).ravel()
        elif listed := re.search(r"device_ids=\(([\d,\s]+)\)", found["rest"]):
            ids = np.array(_numbers(listed[1]))
        else:
            return None
    # Each axis in three: what is before the part that is joined, that part, and what is behind it.
    whole = found["rest"].rpartition("{")[2]
    parts = {each["name"]: each for each in _REF.finditer(whole)}
    if not parts or not set(parts) <= set(sizes):
        return None
    shape, joined = list[int](), list[int]()
    for name, size in sizes.items():
        part = parts.get(name)
        before, inside = (int(part["before"]), int(part["size"])) if part and part["size"] else (1, size)
        if part:
            joined.append(len(shape) + 1)
        shape += [before, inside, size // before // inside]
    order = [at for at in range(len(shape)) if at not in joined] + joined
    return _rows(ids.reshape(shape).transpose(order).reshape(-1, prod(shape[at] for at in joined)))


class MeshAxes:
    """The axes of a mesh of `shape`, whose k-th device, last axis fastest, is number `order[k]` in the program."""

    def __init__(self, shape: Mapping[str, int], order: Sequence[int]):
        self.shape = dict(shape)
        self.devices = prod(self.shape.values())
        self._ids = np.array(list(order) or range(self.devices)).reshape(tuple(self.shape.values()) or (1,))
        self._wide = [name for name, size in self.shape.items() if size > 1]
        self._place = {int(number): place for place, number in np.ndenumerate(self._ids)}

    def of_groups(self, groups: Groups | None, printed: str = "") -> str:
        """`fsdp+tp`; in words where no axes make these groups."""
        if groups is None:
            return f"groups that cannot be read: {printed[:40]}"
        asked = {frozenset(group) for group in groups}
        for names in self._subsets():
            if asked == {frozenset(group) for group in self.groups(names)}:
                return "+".join(names)
        sizes = sorted({len(group) for group in groups})
        return f"{len(groups)} groups of {' or '.join(map(str, sizes))}, no axis of the mesh"

    def of_pairs(self, pairs: Groups) -> str:
        """The axes along which something moves."""
        if any(len(pair) != 2 or not set(pair) <= set(self._place) for pair in pairs):
            return f"{len(pairs)} pairs, no axis of the mesh"
        moved = {at for source, target in pairs for at in self._differing(source, target)}
        return "+".join(name for at, name in enumerate(self.shape) if at in moved) or "none"

    def groups(self, names: Sequence[str]) -> Groups:
        """The groups of devices that differ along these axes only."""
        at = [list(self.shape).index(name) for name in names]
        ids = np.moveaxis(self._ids, at, range(-len(at), 0))
        return _rows(ids.reshape(-1, prod(self.shape[name] for name in names)))

    @property
    def whole(self) -> str:
        """All axes that have more than one device."""
        return "+".join(self._wide)

    def _subsets(self) -> Iterator[tuple[str, ...]]:
        for count in range(1, len(self._wide) + 1):
            yield from itertools.combinations(self._wide, count)

    def _differing(self, source: int, target: int) -> Iterator[int]:
        pairs = zip(self._place[source], self._place[target], strict=True)
        return (at for at, (one, other) in enumerate(pairs) if one != other)
