"""A program as one list of equations: what it calls is in place, values are followed, each line is its own."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from paritygate.audit.flat import Equation, flat

X = jnp.ones((3,), jnp.bfloat16)


def program(function, *arguments) -> list[Equation]:
    return flat(jax.make_jaxpr(function)(*arguments))


def _jitted(x):
    return jax.jit(jnp.exp)(x)


def _scanned(x):
    return jax.lax.scan(lambda carry, _: (jnp.exp(carry), None), x, None, length=2)[0]


def _looped(x):
    return jax.lax.while_loop(lambda state: state[0] < 2, lambda state: (state[0] + 1, jnp.exp(state[1])), (0, x))[1]


def _recomputed(x):
    return jax.checkpoint(jnp.exp)(x)


@jax.custom_jvp
def _own_jvp(x):
    return jnp.exp(x)


@jax.custom_vjp
def _own_vjp(x):
    return jnp.exp(x)


_own_jvp.defjvps(lambda tangent, result, x: tangent * result)
_own_vjp.defvjp(lambda x: (jnp.exp(x), x), lambda x, tangent: (tangent,))


@pytest.mark.parametrize(
    "function", [_jitted, _scanned, _looped, _recomputed, _own_jvp, _own_vjp, jax.jit(jax.jit(_scanned))]
)
def test_what_a_program_calls_is_in_place_and_linked(function):
    """Doubled before and halved after: the exponential is given the one, and gives the other what it takes."""
    equations = program(lambda x: function(x * 2) / 3, X)
    (twice,) = (e for e in equations if e.primitive == "mul")
    exponential = next(e for e in equations if e.primitive == "exp")
    (third,) = (e for e in equations if e.primitive == "div")
    assert exponential.inputs[0].number == twice.outputs[0].number
    assert third.inputs[0].number == exponential.outputs[0].number


def test_a_choice_gives_what_any_of_its_branches_gives():
    equations = program(lambda x: jax.lax.cond(x[0] > 0, jnp.exp, jnp.sin, x * 2) / 3, X)
    made = {e.primitive: e for e in equations}
    branches = {made["exp"].outputs[0].number, made["sin"].outputs[0].number}
    assert {value.number for value in made["cond"].inputs} == branches
    assert made["exp"].inputs[0].number == made["sin"].inputs[0].number == made["mul"].outputs[0].number
    assert made["div"].inputs[0].number == made["cond"].outputs[0].number


def test_what_a_derivative_adds_is_of_the_backward_pass():
    def loss(x):
        return jax.lax.scan(lambda carry, _: (jnp.sin(carry), None), x, None, length=2)[0].sum()

    ways = {(e.primitive, e.way) for e in program(jax.grad(loss), X)}
    assert ("sin", "forward") in ways and ("mul", "backward") in ways
    assert ("sin", "backward") not in ways and ("mul", "forward") not in ways


def test_each_call_of_a_function_that_jax_traced_once_has_its_own_line():
    def twice(x):
        first = jax.nn.silu(x)
        return jax.nn.silu(first)

    start = inspect.getsourcelines(twice)[1]
    lines = [e.line for e in program(twice, X) if e.primitive == "logistic"]
    assert [line.number for line in lines] == [start + 1, start + 2]
    assert all(line.function.endswith("twice") and line.file == __file__ for line in lines)


def test_a_jitted_function_of_the_candidates_own_keeps_its_lines():
    @partial(jax.jit, static_argnums=1)
    def inner(x, power):
        return jnp.exp(x) ** power

    (line,) = (e.line for e in program(lambda x: inner(x, 3), X) if e.primitive == "exp")
    assert line.function.endswith("inner")


def test_a_scalar_literal_is_known():
    (equation,) = program(lambda x: x * 0.5, X)
    assert [value.constant for value in equation.inputs] == [None, 0.5]
    assert equation.outputs[0].dtype == jnp.bfloat16
