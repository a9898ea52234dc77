"""A program beside itself in float64: what each line rounds, what of it reaches a value, and what raising it gives."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

from paritygate.audit.arithmetic import rules
from paritygate.audit.lockstep import INPUTS, WEIGHTS, Lockstep
from paritygate.audit.source import Line
from paritygate.audit.tape import Recorder
from paritygate.core.errors import InfrastructureError, UsageError

BF16 = jnp.bfloat16
X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def recorded(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Recorder, int]:
    with jax.enable_x64(False):
        given = [jnp.asarray(argument) for argument in arguments]
        program = jax.make_jaxpr(function)(*given)
    recorder = Recorder(options.pop("rules", None))
    return recorder, recorder.add(program, given, **options)[0]


def lockstep(function: Callable[..., Any], *arguments: Any, **options: Any) -> Lockstep:
    recorder, output = recorded(function, *arguments, **options)
    return Lockstep(recorder.tape, output)


def line(function: Callable[..., Any], text: str) -> int:
    source, first = inspect.getsourcelines(function)
    return first + next(number for number, each in enumerate(source) if text in each)


def found(steps: Lockstep, number: int) -> Line:
    return next(each for each in steps.lines if each.number == number)


def _jitted(x):
    return jax.jit(lambda y: y * 2 + 1)(x)


def _scanned(x):
    return jax.lax.scan(lambda carry, row: (carry + row, carry * 2), x[0], x, reverse=True)[1]


def _scanned_over_nothing(x):
    return jax.lax.scan(lambda carry, row: (carry + row, carry), x[0], x[:0])[0]


def _looped(x):
    return jax.lax.while_loop(lambda state: state[0] < 3, lambda state: (state[0] + 1, state[1] * 2), (0, x))[1]


def _chosen(x):
    return jax.lax.cond(x[0, 0] > 0, lambda y: y + 1, lambda y: y - 1, x)


def _recomputed(x):
    return jax.checkpoint(lambda y: y * y)(x)


@jax.custom_jvp
def _own_jvp(x):
    return x * 3


@jax.custom_vjp
def _own_vjp(x):
    return x * 3


_own_jvp.defjvps(lambda tangent, result, x: tangent * 3)
_own_vjp.defvjp(lambda x: (x * 3, None), lambda _, tangent: (tangent * 3,))


def _ranked(x):
    values, places = jax.lax.top_k(x, 2)
    return values + places


def _gathered(x):
    return x[jnp.array([1, 0])].at[0].add(x[1]).at[1, 0].set(x[0, 1]) + jnp.argmax(x) + jnp.arange(3.0, dtype=x.dtype)


def _reduced(x):
    return jnp.cumsum(x, axis=1) + jnp.max(x) - jax.lax.reduce(x, x.dtype.type(0), jax.lax.add, (0, 1))


def _mixed(x):
    counts = jnp.floor(x / 2).astype(jnp.int32)
    return jnp.where(counts > 1, x.astype(jnp.float32), 0).astype(x.dtype) + counts


FUNCTIONS = (
    _jitted, _scanned, _scanned_over_nothing, _looped, _chosen, _recomputed, _own_jvp, _own_vjp, _ranked, _gathered,
    _reduced, _mixed,
)  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_tape_gives_what_the_function_gives(function) -> None:
    """On whole numbers, which no order of the sums rounds."""
    recorder, output = recorded(function, X)
    with jax.enable_x64(False):
        wanted = np.asarray(function(jnp.asarray(X)))
    assert np.array_equal(np.asarray(recorder.tape.values[output]), wanted)
    steps = Lockstep(recorder.tape, output)
    assert steps.lines == [] and np.array_equal(steps.exact, wanted)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_that_is_added_makes_the_program_as_it_ran_bit_for_bit(function) -> None:
    x = np.linspace(0.1, 3.3, 6, dtype=np.float32).reshape(2, 3)
    steps = lockstep(lambda y: function(jnp.exp(y.astype(BF16))), x)
    assert steps.lines
    assert np.array_equal(steps.with_lines(steps.lines), steps.own.astype(np.float64))
    assert np.array_equal(steps.with_lines([]), steps.exact)
    assert not np.array_equal(steps.exact, steps.own.astype(np.float64))


def _squared(x):
    square = x * x
    return square + 1


def test_what_a_line_adds_is_its_own_rounding() -> None:
    """(1 + 2^-7)² is 1 + 2^-6 + 2^-14, whose last bit bf16 drops; 2 + 2^-6 it has."""
    x = np.array([1 + 2.0**-7]).astype(BF16)
    steps = lockstep(_squared, x)
    (only,) = steps.lines
    assert only.number == line(_squared, "x * x")
    (added,) = steps.added[only].values()
    assert added.tolist() == [-(2.0**-14)]
    assert (steps.exact.tolist(), steps.own.tolist()) == ([2 + 2.0**-6 + 2.0**-14], [2 + 2.0**-6])
    assert steps.what(only) == ("mul in bfloat16", Line())


def test_what_was_given_rounded_is_of_no_line() -> None:
    def product(weight, x):
        return x * weight

    x, weight = np.array([1 / 3, 1.0]), np.array([1.0, 1 / 3])
    low = [weight.astype(np.float32), x.astype(np.float32)]
    steps = lockstep(product, *low, exact=[weight, x], weights=1)
    assert set(steps.lines) == {WEIGHTS, INPUTS}
    assert steps.exact.tolist() == (x * weight).tolist()
    assert steps.with_lines([INPUTS]).tolist() == (low[1].astype(np.float64) * weight).tolist()


def _normed(x, narrow=lambda value: value):
    mean = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    root = narrow(jax.lax.rsqrt(mean + 1e-5))
    return (x * root).astype(BF16).astype(jnp.float32)


def _narrow(value):
    return jax.lax.reduce_precision(value, 5, 3)


def test_the_line_that_rounds_most_has_the_largest_share_and_raising_it_undoes_it() -> None:
    x = np.linspace(0.3, 2.9, 24, dtype=np.float32).reshape(4, 6)
    steps = lockstep(partial(_normed, narrow=_narrow), x)
    whole = steps.with_lines(steps.lines) - steps.exact
    shares = {each: float(np.vdot(steps.with_lines([each]) - steps.exact, whole)) for each in steps.lines}
    worst = max(shares, key=lambda each: shares[each])
    assert worst.number == line(_narrow, "reduce_precision")
    assert steps.what(worst)[0] == "rounded to 3 bits of mantissa"
    right = lockstep(_normed, x)
    assert np.array_equal(steps.raised(worst, jnp.float32), right.own)
    assert np.array_equal(steps.raised(Line("another", 1), jnp.float32), steps.own)


def _product(x, w):
    low = x.astype(BF16)
    return jax.lax.dot(low, w, preferred_element_type=jnp.float32)


def test_a_line_that_is_raised_gives_nothing_where_what_takes_it_casts_again() -> None:
    x = np.linspace(0.1, 0.7, 6, dtype=np.float32).reshape(2, 3)
    steps = lockstep(_product, x, np.ones((3, 2)).astype(BF16))
    cast = found(steps, line(_product, "astype"))
    assert steps.what(cast)[0] == "rounded to bfloat16"
    assert np.array_equal(steps.raised(cast, jnp.float32), steps.own)


def _flipping(x):
    scores = _narrow(x * 1.1)
    return jnp.take(x, jnp.argmax(scores)) * 7


def test_a_choice_that_flips_is_what_its_line_does() -> None:
    steps = lockstep(_flipping, np.array([1.0, 1.001], np.float32))
    rounding = found(steps, line(_narrow, "reduce_precision"))
    assert steps.with_lines([rounding]).item() == 7.0
    assert steps.exact.item() == np.float64(np.float32(1.001)) * 7


def _tabled(x, table, dtype):
    lowest = jnp.finfo(dtype).min
    masked = jnp.where(x > 0, x * table, lowest)
    return jnp.maximum(masked, 0)


def _of_float32(x, table):
    low = table.astype(BF16).astype(np.float32)
    return _tabled(x, low, np.float32)


def test_a_constant_is_exact_as_float64_has_it_and_the_largest_number_is_none_that_is_rounded() -> None:
    table, x = np.array([1 / 3, 1.0, 3.0]), np.array([1.0, -1.0, 2.0])
    recorder, output = recorded(partial(_of_float32, table=table), x.astype(np.float32))
    exact = Recorder()
    exact.add(jax.make_jaxpr(lambda y: _tabled(y, table, np.float64))(x), [jnp.asarray(x)])
    steps = Lockstep(recorder.tape, output, exact.tape)
    (only,) = steps.lines
    assert only.number == line(_tabled, "x * table")
    what, caller = steps.what(only)
    assert (what, caller.number) == ("constant in float32", line(_of_float32, "_tabled"))
    assert steps.exact.tolist() == [1 / 3, 0.0, 6.0]
    assert steps.raised(only, jnp.float64).tolist() == [float(np.float32(1 / 3)), 0.0, 6.0]


def test_products_run_in_the_arithmetic_of_the_cell() -> None:
    def product(x, w):
        return x @ w

    x, w = np.full((2, 4), 1 + 2.0**-9, np.float32), np.ones((4, 2), np.float32)
    steps = lockstep(product, x, w, rules=rules("bf16x1"))
    assert steps.own.tolist() == [[4.0, 4.0]] * 2
    assert steps.exact.tolist() == [[4 + 2.0**-7] * 2] * 2
    (only,) = steps.lines
    assert (only.number, steps.what(only)[0]) == (line(product, "x @ w"), "dot_general in the cell's arithmetic")
    assert steps.raised(only, jnp.float32).tolist() == steps.exact.tolist()


def test_a_later_program_takes_up_what_an_earlier_one_gave() -> None:
    first, second = (jax.make_jaxpr(f)(jnp.float32(1)) for f in (lambda x: x / 3, lambda x: x * 3))
    recorder = Recorder()
    (middle,) = recorder.add(first, [jnp.float32(1)])
    (output,) = recorder.add(second, [recorder.tape.values[middle]])
    steps = Lockstep(recorder.tape, output)
    assert steps.exact.item() == np.float64(1) / 3 * 3
    assert len(steps.steps) == 2


def test_what_depends_on_how_a_float_is_written_runs_in_its_own_dtype_and_adds_nothing() -> None:
    def bits(x):
        return jax.lax.bitcast_convert_type(
            jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFF0000), jnp.float32
        )

    x = np.array([1 / 3], np.float32)
    steps = lockstep(bits, x)
    assert (steps.lines, steps.own_dtype) == ([], ["bitcast_convert_type"])
    assert steps.exact.tolist() == steps.own.tolist() != x.tolist()


def _overflowing(x):
    low = x.astype(jnp.float16)
    square = low * low
    return square - square


def test_the_line_that_overflows_is_named() -> None:
    found = lockstep(_overflowing, np.array([1.0, 300.0], np.float32)).overflowing
    assert found is not None and found.number == line(_overflowing, "low * low")
    assert lockstep(_overflowing, np.array([1.0, 200.0], np.float32)).overflowing is None


def test_a_program_over_devices_is_refused_by_name() -> None:
    mesh = jax.make_mesh((1,), ("all",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("all")
    mapped = jax.shard_map(lambda x: x * 2, mesh=mesh, in_specs=spec, out_specs=spec)
    with pytest.raises(UsageError, match="cannot be taken apart: shard_map at test_audit_lockstep"):
        recorded(lambda x: mapped(x), X)


def test_an_equation_that_does_not_follow_its_operands_is_refused_by_name() -> None:
    stubborn = Primitive("stubborn")
    stubborn.def_abstract_eval(lambda x: jax.core.ShapedArray(x.shape, jnp.float32))
    stubborn.def_impl(lambda x: x.astype(jnp.float32))
    mlir.register_lowering(stubborn, mlir.lower_fun(lambda x: x.astype(jnp.float32), multiple_results=False))
    with pytest.raises(InfrastructureError, match="cannot be computed in another dtype: stubborn at test_audit_lock"):
        lockstep(lambda x: stubborn.bind(x) + 1, X)
