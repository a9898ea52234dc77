"""Each rule of the precision lint finds what it is for, and nothing in code that does it right."""

import jax
import jax.numpy as jnp
import pytest

from paritygate.audit.compiled import RULES as COMPILED
from paritygate.audit.lint import RULES as TRACED
from paritygate.audit.lint import lint
from paritygate.core.lint import RULES

LOW, WIDE = jnp.ones((4, 4), jnp.bfloat16), jnp.ones((4, 4), jnp.float32)
IDS = jnp.arange(4)
LEAST = jnp.finfo(jnp.bfloat16).min


def rules(function, *arguments, compute: str = "bfloat16") -> list[str]:
    return [finding.rule for finding in lint("toy.plain", "x", jax.make_jaxpr(function)(*arguments), compute)]


WRONG = {
    "round-trip": (lambda x: x.astype(jnp.bfloat16).T.astype(jnp.float32), WIDE),
    "low-math": (jax.nn.softmax, LOW),
    "accumulation": (lambda x: x @ x, LOW),
    "island": (lambda x: (x.astype(jnp.float32) * 3).astype(jnp.bfloat16), LOW),
    "low-constant": (lambda x: x * 0.1, LOW),
    "low-position": (lambda ids: ids.astype(jnp.bfloat16) * 2, IDS),
    "low-mask": (lambda x: x + jnp.where(x > 0, jnp.bfloat16(0), LEAST), LOW),
}
RIGHT = {
    "round-trip": (lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32), WIDE),
    "low-math": (lambda x: jax.nn.softmax(x.astype(jnp.float32)), LOW),
    "accumulation": (lambda x: jnp.matmul(x, x, preferred_element_type=jnp.float32), LOW),
    "island": (lambda x: jnp.maximum(x, 0) * x, LOW),
    "low-constant": (lambda x: x * 0.5 + 3, LOW),
    "low-position": (lambda ids: ids.astype(jnp.float32) * 2, IDS),
    "low-mask": (lambda x: jnp.where(x > 0, x, LEAST), LOW),
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_rule_finds_what_it_is_for(rule):
    assert rule in rules(*WRONG[rule])


@pytest.mark.parametrize("rule", RIGHT)
def test_a_rule_passes_what_is_right(rule):
    assert rule not in rules(*RIGHT[rule])


def test_a_table_that_was_rounded_before_it_became_a_constant_is_found():
    table = jnp.linspace(0.1, 0.9, 7, dtype=jnp.float32)
    low = table.astype(jnp.bfloat16).astype(jnp.float32)
    assert rules(lambda x: x[:, :1] * low, WIDE, compute="float32") == ["low-constant"]
    assert rules(lambda x: x[:, :1] * table, WIDE, compute="float32") == []


def test_where_a_value_lies_is_no_arithmetic():
    mesh = jax.make_mesh((1,), ("tp",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("tp"))

    def laid(x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x.astype(jnp.float32), sharding)

    assert rules(laid, LOW) == []
    assert rules(lambda x: laid(x).astype(jnp.bfloat16), LOW) == []
    assert rules(lambda x: laid(x.astype(jnp.bfloat16)), WIDE) == ["round-trip"]


def test_a_value_that_is_rounded_where_it_stands_is_a_round_trip():
    assert rules(lambda x: jax.lax.reduce_precision(x, 8, 7), WIDE, compute="float32") == ["round-trip"]


def test_float32_left_in_a_float64_model_is_narrow():
    with jax.enable_x64(True):
        wide = jnp.ones((4,), jnp.float64)
        wrong = rules(lambda x: jnp.exp(x.astype(jnp.float32)).astype(jnp.float64), wide, compute="float64")
        assert wrong == ["narrow"]
        assert rules(lambda x: jnp.exp(x) / 3, wide, compute="float64") == []


def test_a_weak_result_is_found_unless_something_takes_it():
    assert "weak-type" in rules(lambda x: jnp.where(x > 0, 1.0, 2.0), WIDE, compute="float32")
    assert "weak-type" not in rules(lambda x: jnp.where(x > 0, 1.0, 2.0) + x, WIDE, compute="float32")


def test_every_rule_is_told_in_words_and_tested():
    assert TRACED.keys() == {*WRONG, "narrow", "weak-type"}
    assert list(RULES) == [*TRACED, *COMPILED]


def test_a_finding_says_which_pass_it_is_of():
    @jax.custom_vjp
    def same(x):
        return x

    def back(_, cotangent):
        return (cotangent.astype(jnp.bfloat16).astype(jnp.float32),)

    same.defvjp(lambda x: (x, None), back)
    program = jax.make_jaxpr(jax.grad(lambda x: (same(x) * x).sum()))(WIDE)
    found = lint("toy.plain", "x", program, "float32")
    assert {(each.rule, each.of) for each in found} == {("round-trip", "backward"), ("narrow", "backward")}


def test_a_round_trip_through_a_choice_is_found_in_whichever_branch_rounds():
    def chosen(x):
        rounded = jax.lax.cond(
            x[0, 0] > 0, lambda x: jnp.zeros(x.shape, jnp.bfloat16), lambda x: x.astype(jnp.bfloat16), x
        )
        return rounded.astype(jnp.float32)

    assert rules(chosen, WIDE) == ["round-trip"]


def test_a_finding_says_where():
    def rounded(x):
        return x.astype(jnp.bfloat16)

    def widened(x):
        return rounded(x).astype(jnp.float32)

    (found,) = lint("toy.plain", "x", jax.make_jaxpr(widened)(WIDE), "bfloat16")
    name = f"{__name__}:test_a_finding_says_where.<locals>"
    assert found.where == f"{name}.rounded -> {name}.widened"
    assert found.line.startswith("test_audit_lint.py:")
    assert found.what.startswith("float32 → 16 bits → float32 at test_audit_lint.py:")


def test_what_gives_nothing_and_what_does_not_fit_is_no_trouble():
    """A print, a mask that is a table, a number that 16 bits do not hold, a key."""
    table = jnp.asarray([[-1e9, 0.0, 0.0, -1e9]] * 4, jnp.bfloat16)
    huge = jnp.asarray([[1e30, 0.1, 1.0, 2.0]] * 4, jnp.float32)

    def program(x):
        jax.debug.print("{}", x[0, 0])
        drawn = jax.random.uniform(jax.random.key(0), x.shape, jnp.float32)
        return x + jnp.where(x > 0, jnp.bfloat16(0), table), drawn * huge

    assert "low-mask" in rules(program, LOW)
