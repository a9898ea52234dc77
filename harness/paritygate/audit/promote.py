"""One equation of a program, evaluated with every float in another dtype."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxpr_as_fun

from paritygate.audit.arithmetic import CONTRACTIONS
from paritygate.audit.source import source_line
from paritygate.core.errors import InfrastructureError

# What depends on how a float is written down, or is no equation of JAX's: it runs in its own dtype always.
OWN = frozenset(
    "bitcast_convert_type rng_bit_generator random_bits pallas_call ffi_call pure_callback io_callback"
    " tpu_custom_call triton_kernel_call scaled_matmul".split()
)


def is_float(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def cast(value: Any, dtype: Any) -> Any:
    """A float in `dtype`; anything else as it is."""
    dtype = np.dtype(dtype)
    if not is_float(value.dtype) or value.dtype == dtype:
        return value
    if dtype.itemsize > value.dtype.itemsize:  # exact, and NumPy compiles nothing for it
        return jnp.asarray(np.asarray(value).astype(dtype))
    return value.astype(dtype)


def declared(eqn: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """The inputs in the dtypes that the equation says."""
    avals: list[Any] = [var.aval for var in eqn.invars]
    return [cast(value, aval.dtype) for value, aval in zip(inputs, avals, strict=True)]


def bound(eqn: JaxprEqn, inputs: Sequence[Any], params: dict[str, Any] | None = None) -> list[Any]:
    """What an equation gives, as a list."""
    with eqn.ctx.manager:
        found = eqn.primitive.bind(*inputs, **(eqn.params if params is None else params))
    return list(found) if eqn.primitive.multiple_results else [found]


def computed_in(eqn: JaxprEqn, inputs: Sequence[Any], dtype: Any) -> list[Any]:
    """What the equation gives where it takes and gives floats of `dtype` in place of its own; roundings are left out.

    What is in `OWN` is computed in its own dtype and its result is cast. Raises InfrastructureError where an equation
    does not follow its operands.
    """
    name, dtype = eqn.primitive.name, np.dtype(dtype)
    if name in OWN:
        return [cast(value, dtype) for value in bound(eqn, declared(eqn, inputs))]
    inputs = [cast(value, dtype) for value in inputs]
    gives: list[Any] = [var.aval for var in eqn.outvars]
    between_floats = name == "convert_element_type" and is_float(inputs[0].dtype) and is_float(gives[0].dtype)
    if between_floats or name == "reduce_precision":
        return list(inputs)
    params = {key: _promoted(value, dtype) for key, value in eqn.params.items()}
    if name in CONTRACTIONS and any(is_float(value.dtype) for value in inputs):
        params["precision"] = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
    try:
        found = bound(eqn, inputs, params)
    except TypeError as reason:
        raise _not_promoted(eqn, dtype, str(reason).partition("\n")[0]) from reason
    for value, aval in zip(found, gives, strict=True):
        if value.dtype != (dtype if is_float(aval.dtype) else aval.dtype):
            raise _not_promoted(eqn, dtype, value.dtype.name)
    return found


def _not_promoted(eqn: JaxprEqn, dtype: np.dtype, got: str) -> InfrastructureError:
    return InfrastructureError(
        "an equation cannot be computed in another dtype",
        where=f"{eqn.primitive.name} at {source_line(eqn)}",
        expected=f"one that gives {dtype.name} where its floats are",
        got=got,
    )


def _promoted(value: Any, dtype: np.dtype) -> Any:
    """A parameter that names a dtype, or holds the program of a reduction, for floats of another dtype."""
    if isinstance(value, ClosedJaxpr):
        return _retraced(value, dtype)
    if isinstance(value, Jaxpr):
        return _retraced(ClosedJaxpr(value, ()), dtype).jaxpr
    if isinstance(value, np.dtype | type) and _names_float(value):
        return dtype
    return value


def _names_float(value: Any) -> bool:
    try:
        return is_float(np.dtype(value))
    except TypeError:
        return False


def _retraced(program: ClosedJaxpr, dtype: np.dtype) -> ClosedJaxpr:
    avals: list[Any] = [var.aval for var in program.jaxpr.invars]
    given = [jax.ShapeDtypeStruct(a.shape, dtype if is_float(a.dtype) else a.dtype) for a in avals]
    return jax.make_jaxpr(jaxpr_as_fun(program))(*given)
