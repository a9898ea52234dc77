"""Runs a module under jit and returns the values at chosen places in it: results of submodules and taps.

One program serves every module with an equal graph definition and equal shapes, so that a deep model compiles each kind
of site once.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import ClosedJaxpr
from jax.stages import Traced

from paritygate.audit.arithmetic import emulated
from paritygate.audit.reassociation import moved_once
from paritygate.core.site import Port, Site

_RESULT = "paritygate_result"


class Moving(NamedTuple):
    """One run in which roundings are moved as another order of sums may: see `audit/reassociation.py`.

    `split` is over how many devices a sum may be divided; draw 0 moves nothing.
    """

    split: int
    draw: int


Way = Literal["forward", "backward"]  # in which a pass goes through the candidate


class Place(NamedTuple):
    """A value inside a module: the `call`-th result of the submodule at `path`, then `keys` into it."""

    path: tuple[str | int, ...]
    call: int
    keys: tuple[str | int, ...]


def place(port: Port, site: Site, call: int, root: str) -> Place:
    """Where the candidate shows an output or inner port of `site`, seen from the module at path `root`."""
    selector = port.candidate.partition("|")[0].strip()
    head, *keys = selector.split(":")
    path = ".".join(part for part in (site.candidate, "" if head == "result" else head) if part)
    inside = path[len(root) :].strip(".") if root else path
    return Place(_words(inside.split(".") if inside else []), call, _words(keys))


def _words(parts: list[str]) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in parts)


class NoSuchModule(LookupError):
    """The candidate has no module at a site's path."""


def submodule(module: nnx.Module, path: str) -> nnx.Module:
    """The module at a dotted path; raises NoSuchModule that names the first part that is not there."""
    found: Any = module
    for part in _words(path.split(".") if path else []):
        owner = type(found).__name__
        try:
            found = found[part] if isinstance(part, int) else getattr(found, part)
        except (AttributeError, IndexError, KeyError, TypeError):
            found = None
        if found is None:
            raise NoSuchModule(f"the candidate has no module {path!r}: {owner} has no {part!r}")
    return found


@partial(jax.jit, static_argnames=("graphdef", "places", "forced", "matmul", "split"))
def _observe(
    graphdef: nnx.GraphDef[nnx.Module],
    places: tuple[Place, ...],
    forced: tuple[Place, ...],
    matmul: str,
    split: int,
    weights: Any,
    rest: Any,
    arguments: dict[str, jax.Array],
    results: list[jax.Array],
    draw: jax.Array | None,
) -> list[jax.Array | None]:
    def observed(
        weights: Any, rest: Any, arguments: dict[str, jax.Array], results: list[jax.Array]
    ) -> list[jax.Array | None]:
        module = nnx.merge(graphdef, weights, rest)
        with _results_kept(module, dict(zip(forced, results, strict=True))):
            _, seen = nnx.capture(module, nnx.Intermediate)(**arguments)
        values = nnx.to_pure_dict(seen)
        return [_pick(values, place) for place in places]

    if split:
        return moved_once(observed, split)(draw, weights, rest, arguments, results)
    return emulated(observed, matmul, weights=(0,))(weights, rest, arguments, results)


@contextmanager
def _results_kept(module: nnx.Module, forced: Mapping[Place, jax.Array]) -> Iterator[None]:
    """While open, every submodule sows what its `__call__` returns, once for each call from outside.

    At a place of `forced` it returns that value instead. Flax's own `method_outputs` misses a `__call__` that a class
    inherits, and counts one that calls its parent's twice.
    """
    running: list[nnx.Module] = []
    paths: dict[int, Any] = {id(part): path for path, part in nnx.iter_modules(module)}
    calls: Counter[Any] = Counter()
    left = dict(forced)

    def forcing(part: nnx.Module, result: Any) -> Any:
        path = paths.get(id(part), ())
        at = Place(path, calls[path], ())
        calls[path] += 1
        if at not in left:
            return result
        value = left.pop(at)
        if value.shape != result.shape:
            raise ValueError(f"{at.path} gives shape {result.shape}, where {value.shape} was to be forced")
        return value.astype(result.dtype)

    def keeping(call: Callable[..., Any]) -> Callable[..., Any]:
        def kept(self: nnx.Module, *args: Any, **kwargs: Any) -> Any:
            if any(other is self for other in running):  # the parent class's part of a call that is kept already
                return call(self, *args, **kwargs)
            running.append(self)
            try:
                result = call(self, *args, **kwargs)
            finally:
                running.pop()
            if forced:
                result = forcing(self, result)
            self.sow(nnx.Intermediate, _RESULT, result)
            return result

        return kept

    originals: dict[type, Any] = {}
    try:
        for cls in {type(part) for _, part in nnx.iter_modules(module)}:
            call = next((vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None)
            if call is not None:
                originals[cls] = vars(cls).get("__call__")
                cls.__call__ = keeping(call)
        yield
        if left:
            raise ValueError(f"the candidate never reaches {', '.join(str(at.path) for at in left)}, to be forced")
    finally:
        for cls, own in originals.items():
            if own is None:
                del cls.__call__
            else:
                cls.__call__ = own


def _pick(values: Any, place: Place) -> jax.Array | None:
    for part in (*place.path, _RESULT, place.call, *place.keys):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = getattr(values, str(part), None)  # a field of a result that is a dataclass
    return values


def observe(
    module: nnx.Module,
    places: list[Place],
    arguments: dict[str, jax.Array],
    forced: Mapping[Place, jax.Array],
    matmul: str = "",
    look: Callable[[Traced, Way], None] | None = None,
    moving: Moving | None = None,
) -> list[jax.Array | None]:
    """One forward pass of `module`; a place that the pass does not reach gives None.

    The modules at the places of `forced` return those values, whatever they compute. Matrix products are computed in
    the arithmetic that `matmul` names, or in a run that is `moving` in that of their dtype. `look` is given what was
    traced, which is what runs.
    """
    given = _given(module, places, arguments, forced, matmul, moving)
    if look is not None:
        look(_observe.trace(*given), "forward")
    return _observe(*given)


def _given(
    module: nnx.Module,
    places: list[Place],
    arguments: dict[str, jax.Array],
    forced: Mapping[Place, jax.Array],
    matmul: str,
    moving: Moving | None = None,
) -> tuple[Any, ...]:
    graphdef, weights, rest = nnx.split(module, nnx.Param, ...)
    split, draw = (moving.split, jnp.uint32(moving.draw)) if moving else (0, None)
    named = (graphdef, tuple(places), tuple(forced), matmul, split)
    return *named, weights, rest, arguments, list(forced.values()), draw


class Program(NamedTuple):
    """What `observe` runs: the program and its arguments, the first `weights` of which are weights.

    `shapes` are the values that it returns, each leaf one output.
    """

    jaxpr: ClosedJaxpr
    arguments: list[jax.Array]
    weights: int
    shapes: list[Any]


def traced(
    module: nnx.Module,
    places: list[Place],
    arguments: dict[str, jax.Array],
    forced: Mapping[Place, jax.Array],
) -> Program:
    """The program of `observe`, not run and in no other arithmetic than its own."""
    given = _given(module, places, arguments, forced, "")
    found = _observe.trace(*given)
    return Program(found.jaxpr, jax.tree.leaves(given[5:]), len(jax.tree.leaves(given[5])), list(found.out_info))


def given_leaves(module: nnx.Module, arguments: dict[str, jax.Array], forced: Mapping[Place, jax.Array]) -> list[Any]:
    """The arguments of that program, without it."""
    return jax.tree.leaves(_given(module, [], arguments, forced, "")[5:])
