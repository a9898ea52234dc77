"""Each rule finds what XLA does to a program that is compiled here, and nothing in one that it leaves as it is."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from paritygate.audit.compiled import RULES, lint_compiled

LOW, WIDE = jnp.ones((4, 4), jnp.bfloat16), jnp.ones((4, 4), jnp.float32)

NATIVE = """HloModule jit_f

ENTRY %main (x: bf16[4,4]) -> bf16[4,4] {
  %x = bf16[4,4]{1,0} parameter(0)
  ROOT %dot = GIVES[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def findings(function, *arguments, compute: str = "bfloat16", options: dict[str, bool] | None = None):
    traced = jax.jit(function).trace(*arguments)
    return lint_compiled("toy.plain", "x", traced.jaxpr, traced.lower().compile(options).as_text(), compute)


def rules(function, *arguments, compute: str = "bfloat16") -> list[str]:
    return [finding.rule for finding in findings(function, *arguments, compute=compute)]


def _summed(x):
    return jax.lax.reduce(x, jnp.zeros((), x.dtype), jax.lax.add, (0,))


def _scattered(x):
    return jnp.zeros((9, 4), x.dtype).at[jnp.asarray([1, 1, 2, 3])].add(x)


@pytest.mark.parametrize("function", [_summed, _scattered])
def test_a_sum_in_16_bits_is_found_and_one_in_32_is_not(function):
    assert rules(function, LOW) == ["compiled-accumulation"]
    assert rules(lambda x: function(x.astype(jnp.float32)).astype(jnp.bfloat16), LOW) == []


def test_a_scatter_that_became_a_loop_is_the_same_finding():
    as_one, as_loop = (findings(_scattered, LOW, options={"xla_cpu_use_fusion_emitters": on}) for on in (True, False))
    assert as_loop == as_one and as_one[0].what == "scatter sums in 16 bits"
    wide = findings(lambda x: _scattered(x.astype(jnp.float32)), LOW, options={"xla_cpu_use_fusion_emitters": False})
    assert wide == []


def test_a_largest_value_in_16_bits_is_no_sum():
    assert rules(lambda x: jax.lax.reduce(x, jnp.bfloat16(0), jax.lax.max, (0,)), LOW) == []


def test_a_product_that_stays_in_16_bits_is_found_and_one_that_is_widened_is_not():
    program = jax.make_jaxpr(lambda x: x @ x)(LOW)

    def said(gives: str) -> list[str]:
        text = NATIVE.replace("GIVES", gives)
        return [each.rule for each in lint_compiled("toy.plain", "x", program, text, "bfloat16")]

    assert said("bf16") == ["compiled-accumulation"]
    assert said("f32") == []
    assert rules(lambda x: x @ x, LOW) == []  # XLA on CPU widens it


def test_a_rounding_that_xla_leaves_out_is_found():
    """The product is 16 bits, and widened next: XLA goes on with what it summed."""

    def scaled(x):
        product = x @ x
        return product.astype(jnp.float32) * 3

    (found,) = findings(scaled, LOW)
    assert (found.rule, found.of) == ("excess-precision", "compiled")
    assert found.where.endswith("test_a_rounding_that_xla_leaves_out_is_found.<locals>.scaled")
    assert found.line.startswith("test_audit_compiled.py:")
    assert found.what == "dot in f32 is used before it is rounded"


def test_a_rounding_that_xla_keeps_is_not():
    def held(x):
        product = jnp.matmul(x, x, preferred_element_type=jnp.float32).astype(jnp.bfloat16)
        return product.astype(jnp.float32) * 3

    assert rules(held, LOW) == []
    assert rules(lambda x: (x @ x).T, LOW) == []


def test_a_quotient_that_xla_makes_of_a_reciprocal_is_rounded_where_it_was_asked_for():
    def shares(x):
        wide = jnp.exp(x.astype(jnp.float32))
        return (wide / wide.sum(1, keepdims=True)).astype(jnp.bfloat16) @ x

    text = jax.jit(shares).lower(LOW).compile().as_text()
    assert "divide" in text
    assert rules(shares, LOW) == []


def test_a_rounding_that_nobody_asked_for_is_not():
    assert rules(lambda x: jnp.matmul(x, x, preferred_element_type=jnp.float32) * 3, LOW) == []


def test_a_rounding_that_is_said_and_gone_is_found():
    """The program rounds between two lines; what is compiled, of the same lines, does not."""

    def squared(x, *, between):
        y = jnp.exp(x)
        return between(y) * 3

    said = jax.jit(lambda x: squared(x, between=lambda y: y.astype(jnp.bfloat16).astype(jnp.float32))).trace(WIDE)
    done = jax.jit(lambda x: squared(x, between=lambda y: y)).trace(WIDE)

    def found(traced) -> list[str]:
        text = traced.lower().compile().as_text()
        return [each.what for each in lint_compiled("toy.plain", "x", said.jaxpr, text, "bfloat16")]

    assert found(done) == ["exponential in f32 is used before it is rounded"]
    assert found(said) == []


FUSED = """HloModule jit_f

%fused (a: f32[4,4]) -> f32[4,4] {
  %a = f32[4,4]{1,0} parameter(0)
  ROOT %sum = f32[4,4]{1,0} add(%a, %a), metadata={op_name="jit(f)/add" source_file="FILE" source_line=LINE}
}

%next (b: f32[4,4]) -> bf16[4,4] {
  %b = f32[4,4]{1,0} parameter(0)
  %moved = f32[4,4]{0,1} transpose(%b), dimensions={1,0}
  ROOT %used = bf16[4,4]{1,0} USED
}

ENTRY %main (x: f32[4,4]) -> bf16[4,4] {
  %x = f32[4,4]{1,0} parameter(0)
  %fusion = f32[4,4]{1,0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %fusion.1 = bf16[4,4]{1,0} fusion(%fusion), kind=kLoop, calls=%next
}
"""


def test_a_result_is_followed_from_one_fusion_into_the_next():
    def twice(x):
        return x + x

    traced = jax.make_jaxpr(twice)(LOW)
    line = str(inspect.getsourcelines(twice)[1] + 1)

    def found(used: str) -> list[str]:
        text = FUSED.replace("FILE", __file__).replace("LINE", line).replace("USED", used)
        return [each.rule for each in lint_compiled("toy.plain", "x", traced, text, "bfloat16")]

    assert found("convert(%moved)") == []
    widened = "convert(%wide)\n  %wide = f32[4,4]{1,0} multiply(%moved, %moved)"
    assert found(widened) == ["excess-precision"]


def test_float64_in_a_narrower_model_is_found():
    with jax.enable_x64(True):
        wide = jnp.ones((4, 4), jnp.float64)
        assert "compiled-float64" in rules(lambda x: x @ x, wide, compute="float32")
        assert rules(lambda x: x @ x, wide, compute="float64") == []
        assert rules(lambda x: x.T, wide, compute="float32") == []  # moved, not computed with


def test_every_rule_is_one_of_these():
    assert [*RULES] == ["compiled-accumulation", "excess-precision", "compiled-float64"]
