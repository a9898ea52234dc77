"""Mesh layouts: kinds of axes and what each splits, the layouts that are audited, the names of others; plain data."""

import re
from collections.abc import Mapping
from math import prod

from paritygate.core.cell import SINGLE, Axes, AxisTypes, MeshLayout, written
from paritygate.core.errors import UsageError

# Which logical axes a mesh axis of each kind splits. One that splits the batch makes devices work on other rows.
KINDS: Mapping[str, tuple[str, ...]] = {
    "dp": ("batch",),
    "fsdp": ("batch", "embed"),
    "ep": ("batch", "expert"),
    "sp": ("length",),
    "tp": ("heads", "kv_heads", "mlp", "expert_mlp", "vocab"),
}
_EXPLICIT = "-explicit"
_AXES = re.compile(rf"(?:(?:{'|'.join(KINDS)})[1-9][0-9]*)+")
# Every kind alone, in as many parts as eight devices allow, and products in which two kinds meet in one array.
_NAMES = (
    "single dp2 dp8 fsdp2 fsdp8 tp2 tp4 tp8 ep2 ep4 sp2 sp4 dp2tp4 fsdp4tp2 fsdp2tp2ep2 dp2sp2tp2 fsdp4sp2 "
    "fsdp4tp2-explicit dp2sp2tp2-explicit fsdp2tp2ep2-explicit"
).split()


def layout(axes: Axes, types: AxisTypes = "auto") -> MeshLayout:
    """The layout of these axes; a logical axis that two of them split is split over both, the first as major."""
    rules: dict[str, tuple[str, ...]] = {}
    for kind, _ in axes:
        for logical in KINDS[kind]:
            rules[logical] = (*rules.get(logical, ()), kind)
    return MeshLayout(written(axes) + (_EXPLICIT if types == "explicit" else ""), axes, rules, types)


def parse_layout(text: str) -> MeshLayout:
    """`fsdp4tp2`, `fsdp4tp2-explicit` and their like, of any size; raises UsageError."""
    name = text.removesuffix(_EXPLICIT)
    return layout(parse_axes(name), "auto" if name == text else "explicit")


def parse_axes(text: str) -> Axes:
    """`fsdp16tp4` to its axes, the major first; `single` has none. Raises UsageError."""
    if text == SINGLE:
        return ()
    axes = tuple((kind, int(size)) for kind, size in re.findall(r"([a-z]+)([0-9]+)", text))
    if not _AXES.fullmatch(text) or len({kind for kind, _ in axes}) < len(axes):
        expected = f"axes, each of {', '.join(sorted(KINDS))} at most once and with its size, such as fsdp16tp4"
        raise UsageError("bad mesh", where=repr(text), expected=expected)
    return axes


def batch_ways(axes: Axes) -> int:
    """Into how many parts a mesh splits the rows of a batch."""
    return prod(size for kind, size in axes if "batch" in KINDS[kind])


MESHES: Mapping[str, MeshLayout] = {name: parse_layout(name) for name in _NAMES}
