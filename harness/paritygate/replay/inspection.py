"""What a candidate is made of: its modules, and its parameters under the reference's names, traced to variables."""

import sys
from collections.abc import Callable, Mapping
from inspect import unwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from paritygate.core.coverage import Inspection
from paritygate.core.golden import TensorRef
from paritygate.core.registry import load
from paritygate.replay.bench import Bench
from paritygate.replay.observe import NoSuchModule, submodule
from paritygate.store.objects import dtype_of, ref_of

Parameters = Callable[[nnx.Module], Mapping[str, Any]]


def inspect(bench: Bench, model: nnx.Module) -> Inspection:
    """Looks at a candidate that was built from the golden's weights; it is not run."""
    modules = tuple(sorted(_dotted(path) for path, module in nnx.iter_modules(model) if callable(module)))
    where, sources = (bench.case.id, str(bench.cell), modules), sources_of(bench, model)
    if not bench.family.candidate.parameters:
        problem = "the family does not say how: `parameters` of the candidate's Side is empty"
        return Inspection(*where, problem=problem, sources=sources)
    parameters: Parameters = load(bench.family.candidate.parameters)
    try:
        found = {name: np.asarray(value) for name, value in parameters(model).items()}
        unused, shared = _traced(model, parameters)
    except Exception as reason:  # the candidate's own failure is a result: a gap, never a pass
        return Inspection(*where, problem=f"{type(reason).__name__}: {reason}"[:2000], sources=sources)
    weights = bench.manifest.weights
    refs = {name: _as_stored(value, weights[name].dtype if name in weights else "") for name, value in found.items()}
    return Inspection(*where, refs, unused, shared, sources=sources)


def sources_of(bench: Bench, model: nnx.Module) -> dict[str, str]:
    """By site, the file and line of what its module runs when it is called, the file as it is imported."""
    found = {}
    for site in bench.sites:
        try:
            function = unwrap(type(submodule(model, site.candidate)).__call__)
        except (NoSuchModule, AttributeError):
            continue  # it is `missing` by name already, or is called by another name
        module, code = sys.modules.get(function.__module__), getattr(function, "__code__", None)
        if module is None or code is None or not (file := getattr(module, "__file__", None)):
            continue
        parts = module.__name__.split(".")
        path = Path(*parts, "__init__.py") if Path(file).name == "__init__.py" else Path(*parts).with_suffix(".py")
        found[site.name] = f"{path.as_posix()}:{code.co_firstlineno}"
    return found


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _as_stored(value: np.ndarray, dtype: str) -> TensorRef:
    """The ref of a value in the golden's dtype, or in its own where that would round it."""
    rounded = value.astype(dtype_of(dtype)) if dtype else value
    exact = np.array_equal(rounded.astype(np.float64), value.astype(np.float64))
    return ref_of(rounded if exact else value)


def _traced(model: nnx.Module, parameters: Parameters) -> tuple[dict[str, int], dict[str, int]]:
    """By path, how many elements of a variable none of the parameters takes, and how many several take.

    Every element of the model's variables is replaced by a number of its own: what `parameters` then returns says where
    each value comes from, whatever is renamed, transposed, split or joined on the way.
    """
    graphdef, state = nnx.split(model)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    ends = np.cumsum([0, *(leaf.size for _, leaf in leaves)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{ends[-1]} elements are too many to number")
    numbers = [
        jnp.asarray(np.arange(start, start + leaf.size, dtype=np.int32).reshape(leaf.shape))
        for start, (_, leaf) in zip(ends, leaves, strict=False)
    ]
    numbered = nnx.merge(graphdef, jax.tree_util.tree_unflatten(treedef, numbers))
    taken = np.zeros(ends[-1], np.int64)
    for name, value in parameters(numbered).items():
        value = np.asarray(value)
        if value.dtype != np.int32:
            raise ValueError(f"{name} is computed as {value.dtype}: parameters may only be renamed and laid out anew")
        np.add.at(taken, value.ravel(), 1)
    unused, shared = {}, {}
    for start, (path, leaf) in zip(ends, leaves, strict=False):
        times = taken[start : start + leaf.size]
        for found, count in ((unused, int((times == 0).sum())), (shared, int((times > 1).sum()))):
            if count:
                found[_words(path)] = count
    return unused, shared


def _words(path: tuple[Any, ...]) -> str:
    """A key path into a state as the dotted path of the variable: without the attribute that holds its value."""
    return _dotted(tuple(key.key for key in path if isinstance(key, jax.tree_util.DictKey)))
