"""Runs a module under jit and returns the values at chosen places in it: results of submodules and taps.

One program serves every module with an equal graph definition and equal shapes, so that a deep model compiles each kind
of site once.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
from flax import nnx

from paritygate.core.site import Port, Site


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


def submodule(module: nnx.Module, path: str) -> nnx.Module:
    """The module at a dotted path; raises LookupError that names the first part that is not there."""
    found: Any = module
    for part in _words(path.split(".") if path else []):
        try:
            found = found[part] if isinstance(part, int) else getattr(found, part)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise LookupError(f"the candidate has no module {path!r}: {type(found).__name__} has no {part!r}") from None
    return found


@partial(jax.jit, static_argnames=("graphdef", "places"))
def _observe(
    graphdef: nnx.GraphDef, places: tuple[Place, ...], state: nnx.State, arguments: dict[str, jax.Array]
) -> list[jax.Array | None]:
    module = nnx.merge(graphdef, state)
    _, seen = nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate)(**arguments)
    values = nnx.to_pure_dict(seen)
    return [_pick(values, place) for place in places]


def _pick(values: Any, place: Place) -> jax.Array | None:
    try:
        for part in place.path:
            values = values[part]
        value = values["__call__"][place.call]
    except (KeyError, IndexError, TypeError):
        return None
    for key in place.keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            value = getattr(value, str(key), None)
    return value


def observe(module: nnx.Module, places: list[Place], arguments: dict[str, jax.Array]) -> list[jax.Array | None]:
    """One forward pass of `module`; a place that the pass does not reach gives None."""
    graphdef, state = nnx.split(module)
    return _observe(graphdef, tuple(places), state, arguments)
