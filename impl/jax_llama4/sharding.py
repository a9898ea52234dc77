"""Where tensors live on a mesh: logical axis names, the table of rules from them to mesh axes, and `shard`."""

import contextlib
import dataclasses
import difflib
import math
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

LOGICAL_AXES = (
    "batch",
    "length",  # of queries, of keys and of a cache's slots
    "embed",
    "heads",
    "kv_heads",
    "head_dim",
    "mlp",  # width of a dense layer and of the shared expert
    "expert",
    "expert_mlp",
    "vocab",
    "layer",  # of stacked weights; the scan walks along it, so no rule set below shards it
)


class ShardingError(ValueError):
    """Everything that does not fit between rules, a mesh and a model; `problems` has one line each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("sharding does not fit:" + "".join(f"\n  {problem}" for problem in problems))


def require_logical(names: Any) -> None:
    """Raise ShardingError for each name that is not one of LOGICAL_AXES; None stands for a replicated dimension."""
    problems = [
        f"{name}: no such logical axis, expected {_nearest(str(name), LOGICAL_AXES)}"
        for name in names
        if name is not None and name not in LOGICAL_AXES
    ]
    if problems:
        raise ShardingError(problems)


def _as_tuple(mesh_axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if mesh_axes is None:
        return ()
    return (mesh_axes,) if isinstance(mesh_axes, str) else tuple(mesh_axes)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    return ", ".join(difflib.get_close_matches(name, known, n=1) or known)


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which mesh axes each logical axis is split over; what `axes` leaves out, or maps to (), is replicated.

    A value is hashable and static. Raises ShardingError for a logical axis that does not exist.
    """

    axes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self):
        require_logical(name for name, _ in self.axes)

    @classmethod
    def of(cls, **axes: str | tuple[str, ...] | None) -> "Rules":
        """From logical axes as keywords, each with one mesh axis, several (major first) or None."""
        return cls(tuple((name, _as_tuple(mesh_axes)) for name, mesh_axes in axes.items()))

    def replace(self, **axes: str | tuple[str, ...] | None) -> "Rules":
        """The same but for these logical axes; None replicates one."""
        return Rules.of(**(dict(self.axes) | axes))

    def mesh_axes(self, logical: str | None) -> tuple[str, ...]:
        return dict(self.axes).get(logical, ()) if logical is not None else ()

    def require_on(self, mesh: Mesh) -> None:
        """Raise ShardingError for each mesh axis that the rules name and the mesh does not have."""
        problems = [
            f"{logical} → {axis}: the mesh has no such axis, only {', '.join(mesh.axis_names)}"
            for logical, mesh_axes in self.axes
            for axis in mesh_axes
            if axis not in mesh.axis_names
        ]
        if problems:
            raise ShardingError(problems)

    def spec(self, logical_axes: Sequence[str | None]) -> PartitionSpec:
        """One entry a dimension. A mesh axis can split one dimension only: the first that asks for it has it.

        So under `fsdp` an activation (batch, length, embed) is split along batch, a weight (embed, mlp) along embed.
        """
        require_logical(logical_axes)
        used: set[str] = set()
        entries: list[str | tuple[str, ...] | None] = []
        for logical in logical_axes:
            free = tuple(axis for axis in self.mesh_axes(logical) if axis not in used)
            used.update(free)
            entries.append(free[0] if len(free) == 1 else free or None)
        return PartitionSpec(*entries)


# Each set uses the mesh axis of its own name, so that sets can be combined on one mesh.
RULES: Mapping[str, Rules] = {
    "single": Rules(),
    "data": Rules.of(batch="data"),
    "fsdp": Rules.of(batch="fsdp", embed="fsdp"),
    "tensor": Rules.of(heads="tensor", kv_heads="tensor", mlp="tensor", expert_mlp="tensor", vocab="tensor"),
    "expert": Rules.of(batch="expert", expert="expert"),
    "sequence": Rules.of(length="sequence"),
}


def combine(*names: str) -> Rules:
    """Several sets of RULES as one; a logical axis that two of them split is split over both, the first as major."""
    merged: dict[str, tuple[str, ...]] = {}
    for name in names:
        if name not in RULES:
            raise ShardingError([f"{name}: no such rule set, expected {_nearest(name, tuple(RULES))}"])
        for logical, mesh_axes in RULES[name].axes:
            merged[logical] = merged.get(logical, ()) + tuple(a for a in mesh_axes if a not in merged.get(logical, ()))
    return Rules(tuple(merged.items()))


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mesh and the rules that say how to use it."""

    mesh: Mesh
    rules: Rules

    @property
    def explicit(self) -> bool:
        """Whether the sharding of each value is part of its type, so that whoever computes one has to say it."""
        return AxisType.Explicit in self.mesh.axis_types

    def sharding(self, logical_axes: Sequence[str | None]) -> NamedSharding:
        return NamedSharding(self.mesh, self.rules.spec(logical_axes))

    def fitted(self, shape: Sequence[int], logical_axes: Sequence[str | None]) -> NamedSharding:
        """The same for a value of this shape: of the mesh axes of a dimension the leading ones that divide it."""
        spec = self.rules.spec(logical_axes)
        entries = [self.dividing(entry, size) for size, entry in zip(shape, spec, strict=True)]
        return NamedSharding(self.mesh, PartitionSpec(*entries))

    def ways(self, entry: str | tuple[str, ...] | None) -> int:
        """Into how many parts one entry of a spec splits its dimension."""
        return math.prod(self.mesh.shape[axis] for axis in _as_tuple(entry))

    def dividing(self, entry: str | tuple[str, ...] | None, size: int) -> tuple[str, ...] | None:
        """The longest leading part of an entry that divides a dimension of this size."""
        axes = _as_tuple(entry)
        while size % self.ways(axes):
            axes = axes[:-1]
        return axes or None


# Part of the key of every compiled program: a function traced under one placement is traced again under another.
_ACTIVE = jax.make_user_context(None)


def active_placement() -> Placement | None:
    """What `use_mesh` made current in this thread, None where nothing did."""
    return _ACTIVE.value


@contextlib.contextmanager
def use_mesh(mesh: Mesh | None, rules: Rules | str | None = None) -> Iterator[Placement | None]:
    """Make `shard` act for what is traced inside; a mesh of None turns it off. Rules may be named as in RULES.

    A mesh of Explicit axes is made JAX's current one too, inside a traced function as well as outside.
    Raises ShardingError where the rules name an axis the mesh does not have.
    """
    placement = as_placement(mesh, rules)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ACTIVE(placement))
        if placement is not None and placement.explicit:
            # JAX sets devices outside a traced function only, where it needs them for what is computed at once.
            traced = isinstance(jnp.zeros(()), Tracer)
            types = placement.mesh.abstract_mesh
            stack.enter_context(jax.sharding.use_abstract_mesh(types) if traced else jax.set_mesh(placement.mesh))
        yield placement


def as_placement(mesh: Mesh | None, rules: Rules | str | None) -> Placement | None:
    """Check rules against a mesh; rules without a mesh, or a mesh without rules, raise ShardingError."""
    if isinstance(rules, str):
        rules = combine(rules)
    if mesh is None:
        if rules is not None:
            raise ShardingError(["rules are given, but no mesh for them"])
        return None
    if rules is None:
        raise ShardingError([f"a mesh {dict(mesh.shape)} is given, but no rules: name one of {', '.join(RULES)}"])
    rules.require_on(mesh)
    if len(set(mesh.axis_types)) > 1:
        types = ", ".join(f"{axis} {kind.name}" for axis, kind in zip(mesh.axis_names, mesh.axis_types, strict=True))
        raise ShardingError([f"axes of several types ({types}): expected all Auto or all Explicit, as of make_mesh"])
    return Placement(mesh, rules)


def shard(x: Any, *logical_axes: str | None) -> Any:
    """Lay out `x`, one logical axis or None a dimension, by the active placement; without one, give `x` back.

    Under Auto axes this constrains the compiler; under Explicit ones the result has that sharding in its type.

    Of the mesh axes of a dimension only as many are used, from the major one on, as divide it: a single new token under
    `sequence` stays replicated, and a batch of 2 under fsdp=2 with expert=2 is split in two.
    Raises ValueError where the names do not fit the rank, with or without a mesh.
    """
    if len(logical_axes) != x.ndim:
        raise ValueError(f"shard: expected one logical axis a dimension of {x.shape}, got {logical_axes}")
    placement = active_placement()
    if placement is None:
        require_logical(logical_axes)
        return x
    sharding = placement.fitted(x.shape, logical_axes)
    lay_out = jax.sharding.reshard if placement.explicit else jax.lax.with_sharding_constraint
    return lay_out(x, sharding)


def reshard(x: Any, *logical_axes: str | None) -> Any:
    """As `shard` under Explicit axes, for what comes next there; under Auto ones the compiler finds its own way."""
    return x if _explicit() is None else shard(x, *logical_axes)


def beside(weight: Any, x: Any) -> Any:
    """A weight to be broadcast against `x`: under Explicit axes split as the last dimensions of `x` are."""
    placement = _explicit()
    if placement is None:
        return weight
    entries = _spec(x)[x.ndim - weight.ndim :]
    return jax.sharding.reshard(weight, NamedSharding(placement.mesh, PartitionSpec(*entries)))


def kept(letters: str, *operands: Any) -> NamedSharding | None:
    """The `out_sharding` of an einsum under Explicit axes: what the operands are split along, the product is too.

    A mesh axis that two dimensions of the product ask for splits the first, as in `Rules.spec`; what is summed over is
    added over the devices. Under Auto axes None.
    """
    placement = _explicit()
    if placement is None:
        return None
    taken, result = letters.split("->")
    split: dict[str, Any] = {}
    for names, x in zip(taken.split(","), operands, strict=True):
        leading = string.ascii_uppercase[: x.ndim - len(names.replace("...", ""))]
        result = result.replace("...", leading)
        for name, entry in zip(names.replace("...", leading), _spec(x), strict=True):
            split[name] = split.get(name) or entry
    used: set[str] = set()
    entries = []
    for name in result:
        free = tuple(axis for axis in _as_tuple(split[name]) if axis not in used)
        used.update(free)
        entries.append(free or None)
    return NamedSharding(placement.mesh, PartitionSpec(*entries))


def explicit_sharding(shape: Sequence[int], *logical_axes: str | None) -> NamedSharding | None:
    """Under Explicit axes where `shard` puts a value of this shape, as an `out_sharding`; under Auto ones None."""
    placement = _explicit()
    return None if placement is None else placement.fitted(shape, logical_axes)


def automatic(function: Callable[..., Any], out_sharding: NamedSharding | None, *operands: Any) -> Any:
    """`function(*operands)`, inside which axes are Auto also where they are Explicit outside.

    For lookups and writes by index: which devices speak to each other is in values there, so that JAX refuses to say.
    """
    if out_sharding is None:
        return function(*operands)
    return jax.sharding.auto_axes(function, out_sharding=out_sharding)(*operands)


def require_auto(what: str, instead: str) -> None:
    """Raise ShardingError where the active mesh has Explicit axes, which `what` does not work under."""
    if _explicit() is not None:
        raise ShardingError([f"{what} take Auto axes, the mesh has Explicit ones; {instead}"])


def _explicit() -> Placement | None:
    placement = active_placement()
    return placement if placement is not None and placement.explicit else None


def _spec(x: Any) -> PartitionSpec:
    """One entry a dimension; what was made under no mesh, such as `jnp.arange`, is whole everywhere."""
    spec = jax.typeof(x).sharding.spec
    return PartitionSpec(*spec, *(None,) * (x.ndim - len(spec)))


def make_mesh(
    shape: Sequence[int],
    names: Sequence[str],
    devices: Sequence[Any] | None = None,
    axis_types: Literal["auto", "explicit"] = "auto",
) -> Mesh:
    """A mesh whose axes are all Auto, where the compiler places what `shard` leaves open, or all Explicit.

    JAX's default is Explicit, under which the sharding of every value is in its type, `jax.typeof(x).sharding`.
    """
    kinds = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
    if axis_types not in kinds:
        raise ShardingError([f"axis_types {axis_types!r}: expected one of {', '.join(kinds)}"])
    types = (kinds[axis_types],) * len(names)
    return jax.make_mesh(tuple(shape), tuple(names), axis_types=types, devices=devices)
