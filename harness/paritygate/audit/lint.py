"""The rules of the precision lint, on a program as one list of equations; each rule is a function."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from paritygate.audit.flat import Equation, flat
from paritygate.audit.source import qualified
from paritygate.core.lint import Finding

# Give what they are given, in another shape or order.
_MOVES = frozenset(
    "reshape transpose broadcast_in_dim squeeze slice dynamic_slice rev copy expand_dims concatenate split cond "
    "sharding_constraint reshard".split()
)
_SELECTS = frozenset("select_n gather pad where scatter dynamic_update_slice stop_gradient".split())
_CASTS = frozenset({"convert_element_type", "reduce_precision", "bitcast_convert_type"})
_EXACT = frozenset("neg abs sign max min reduce_max reduce_min argmax argmin top_k sort is_finite clamp iota".split())
_PRODUCTS = frozenset("dot_general conv_general_dilated ragged_dot ragged_dot_general".split())
_STEEP = frozenset(
    "exp exp2 expm1 log log1p logistic tanh erf erfc erf_inv rsqrt sqrt cbrt pow integer_pow sin cos tan div "
    "reduce_sum reduce_prod cumsum cumprod cumlogsumexp reduce_window_sum".split()
)

# The equation, what it does, and the one that undoes it.
Found = tuple[Equation, str] | tuple[Equation, str, Equation]
# Bits that a number has which somebody meant, such as 0.125 or 2.5.
_MEANT = 5
_LOW = (jnp.dtype("bfloat16"), jnp.dtype("float16"))

Uses = Mapping[int, Sequence[Equation]]
Rule = Callable[[Sequence[Equation], Uses, np.dtype], Iterator[Found]]


def lint(case: str, cell: str, program: ClosedJaxpr, compute: str) -> list[Finding]:
    """What the rules find in a program whose model dtype is `compute`; each once a line."""
    equations, model = flat(program), jnp.dtype(compute)
    uses = uses_of(equations)
    equations = [equation for equation in equations if equation.outputs]  # one that only prints has none
    found: dict[Finding, None] = {}
    for name, rule in RULES.items():
        for equation, what, *then in rule(equations, uses, model):
            where = " -> ".join(qualified(each.line) for each in (equation, *then))
            found[Finding(case, cell, name, where, equation.line.short, what, equation.way)] = None
    return list(found)


def uses_of(equations: Sequence[Equation]) -> Uses:
    """The equations that are given each value."""
    uses: dict[int, list[Equation]] = defaultdict(list)
    for equation in equations:
        for value in equation.inputs:
            uses[value.number].append(equation)
    return uses


def is_float(dtype: np.dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def is_low(dtype: np.dtype) -> bool:
    return is_float(dtype) and dtype.itemsize <= 2


def _bits(dtype: np.dtype) -> str:
    return f"{8 * dtype.itemsize} bits"


def _computes(equation: Equation) -> bool:
    return equation.primitive not in _MOVES | _SELECTS | _CASTS | _EXACT


def _round_trips(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        if equation.primitive == "reduce_precision":
            kept, whole = equation.params["mantissa_bits"], jnp.finfo(equation.outputs[0].dtype).nmant
            if kept < whole:
                yield equation, f"{equation.outputs[0].dtype} rounded to {kept} bits of its {whole}"
        if equation.primitive != "convert_element_type":
            continue
        (wide,), (low,) = equation.inputs, equation.outputs
        if not (is_float(wide.dtype) and is_low(low.dtype) and low.dtype.itemsize < wide.dtype.itemsize):
            continue
        for back in next_uses(equation, uses):
            again = back.outputs[0].dtype
            if back.primitive == "convert_element_type" and is_float(again) and again.itemsize > low.dtype.itemsize:
                yield equation, f"{wide.dtype} → {_bits(low.dtype)} → {again} at {back.line.short}", back


def next_uses(equation: Equation, uses: Uses) -> Iterator[Equation]:
    """What uses an equation's results, behind moves."""
    pending, seen = list(equation.outputs), set[int]()
    while pending:
        value = pending.pop()
        if value.number in seen:
            continue
        seen.add(value.number)
        for use in uses.get(value.number, ()):
            if use.primitive in _MOVES:
                pending += use.outputs
            else:
                yield use


def _low_math(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        if equation.primitive in _STEEP and is_low(equation.outputs[0].dtype):
            yield equation, f"{equation.primitive} in {_bits(equation.outputs[0].dtype)}"


def _accumulation(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        values = (*equation.inputs[:2], *equation.outputs)
        if equation.primitive in _PRODUCTS and all(is_low(value.dtype) for value in values):
            given, result = equation.inputs[0].dtype, equation.outputs[0].dtype
            yield equation, f"{equation.primitive} of {_bits(given)} gives {_bits(result)}"


def _islands(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        if not _computes(equation) or equation.primitive in _PRODUCTS:
            continue
        dtype = equation.outputs[0].dtype
        if is_float(dtype) and dtype.itemsize > model.itemsize:
            yield equation, f"computed in {dtype}"


def _narrow(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        for value in equation.outputs:
            if is_float(value.dtype) and value.dtype.itemsize < model.itemsize:
                yield equation, f"{value.dtype}, in a model of {model}"


def _low_constants(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        for value in equation.inputs:
            if value.constant is None or not is_float(value.dtype):
                continue
            if not value.shape:
                if is_low(value.dtype) and equation.primitive in ("mul", "add", "sub", "div"):
                    number = float(value.constant)
                    if _is_rounded(np.array([number]), value.dtype):
                        yield equation, f"{equation.primitive} by {number:.6g}, as {_bits(value.dtype)} have it"
            elif low := next((low for low in _LOW if _is_rounded(np.asarray(value.constant), low)), None):
                yield equation, f"{value.dtype} that holds {_bits(low)}"


def _is_rounded(constant: np.ndarray, low: np.dtype) -> bool:
    """Whether all of a constant's numbers are those of a narrower dtype, and some of those that rounding leaves.

    A number that somebody meant has few bits, or is whole.
    """
    wide = constant.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):  # what does not fit is not a narrower number
        narrow = wide.astype(low).astype(np.float64)
    if not np.isfinite(wide).all() or not np.array_equal(narrow, wide):
        return False
    bits = jnp.finfo(low).nmant + 1
    mantissas = np.frexp(wide[wide != np.round(wide)])[0] * 2.0**bits
    return bool((mantissas % 2.0 ** (bits - _MEANT) != 0).any())


def _low_positions(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        result = equation.outputs[0].dtype
        if not is_low(result):
            continue
        if equation.primitive == "iota":
            yield equation, f"counts in {_bits(result)}"
        elif equation.primitive == "convert_element_type" and jnp.issubdtype(equation.inputs[0].dtype, jnp.integer):
            yield equation, f"{equation.inputs[0].dtype} → {_bits(result)}"


def _low_masks(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    made = {value.number: equation for equation in equations for value in equation.outputs}
    for equation in equations:
        if equation.primitive != "add" or not is_low(equation.outputs[0].dtype):
            continue
        for value in equation.inputs:
            if _is_mask(value.number, made):
                yield equation, f"a mask of {_bits(value.dtype)} is added"


def _is_mask(number: int, made: Mapping[int, Equation]) -> bool:
    """Whether a value is a choice between numbers of which one is far below all others."""
    equation = made.get(number)
    while equation is not None and equation.primitive in _MOVES:
        equation = made.get(equation.inputs[0].number)
    if equation is None or equation.primitive != "select_n":
        return False
    for value in equation.inputs[1:]:
        source = made.get(value.number)
        while source is not None and source.primitive in _MOVES:
            value = source.inputs[0]
            source = made.get(value.number)
        if value.constant is not None and np.min(np.asarray(value.constant, np.float64), initial=0.0) <= -1e4:
            return True
    return False


def _weak_types(equations: Sequence[Equation], uses: Uses, model: np.dtype) -> Iterator[Found]:
    for equation in equations:
        for value in equation.outputs:
            if value.weak and value.shape and is_float(value.dtype) and not uses.get(value.number):
                yield equation, f"a weak {value.dtype}"


RULES: Mapping[str, Rule] = {
    "round-trip": _round_trips,
    "low-math": _low_math,
    "accumulation": _accumulation,
    "island": _islands,
    "narrow": _narrow,
    "low-constant": _low_constants,
    "low-position": _low_positions,
    "low-mask": _low_masks,
    "weak-type": _weak_types,
}
