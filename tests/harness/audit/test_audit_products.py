"""Products and turns of loops are read off compiled programs: work is exact, precision is what was chosen."""

import jax
import jax.numpy as jnp
import pytest

from paritygate.audit.hlo import read
from paritygate.audit.products import met, products
from paritygate.audit.programs import summarise
from paritygate.audit.turns import executions

# As a TPU's compiler prints: a counter that goes up by two, a product as a convolution whose padding is no work.
WINDOWED = """HloModule jit_step, is_scheduled=true

%turn (state: (u32[], bf16[4,8])) -> (u32[], bf16[4,8]) {
  %state = (u32[]{:T(128)}, bf16[4,8]{1,0}) parameter(0)
  %two = u32[] constant(2)
  %count = u32[] get-tuple-element(%state), index=0
  %next = u32[] add(%count, %two)
  %x = bf16[4,8]{1,0} get-tuple-element(%state), index=1
  %w = bf16[8,16]{1,0} constant({...})
  %product = f32[4,1,16]{2,1,0} convolution(%x3, %w3), window={size=2 pad=0_1}, dim_labels=b0f_0io->b0f, \
operand_precision={highest,highest}, metadata={op_name="jit(step)/dot_general" source_file="/src/step.py" source_line=7}
  %x3 = bf16[4,1,8]{2,1,0} bitcast(%x)
  %w3 = bf16[2,8,16]{2,1,0} bitcast(%w)
  %moved = (bf16[4,8]{1,0}, bf16[4,8]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%x), \
channel_id=1, source_target_pairs={{0,1},{1,0}}
  %there = bf16[4,8]{1,0} collective-permute-done(%moved)
  ROOT %out = (u32[], bf16[4,8]{1,0}) tuple(%next, %there)
}

%goes_on (state.1: (u32[], bf16[4,8])) -> pred[] {
  %state.1 = (u32[]{:T(128)}, bf16[4,8]{1,0}) parameter(0)
  %end = u32[] constant(7)
  %count.1 = u32[] get-tuple-element(%state.1), index=0
  ROOT %less = pred[] compare(%count.1, %end), direction=LT
}

ENTRY %main (p0: bf16[4,8]) -> (u32[], bf16[4,8]) {
  %p0 = bf16[4,8]{1,0} parameter(0)
  %zero = u32[] constant(0)
  %first = u32[] copy(%zero)
  %start = (u32[], bf16[4,8]{1,0}) tuple(%first, %p0)
  ROOT %loop = (u32[], bf16[4,8]{1,0}) while(%start), condition=%goes_on, body=%turn
}
"""


def test_a_loop_of_which_xla_says_nothing_turns_as_its_counter_says() -> None:
    times, unknown = executions(read(WINDOWED))
    assert (times["main"], times["turn"], unknown) == (1, 4, ())
    _, unknown = executions(read(WINDOWED.replace("direction=LT", "direction=NE")))
    assert unknown == ("loop",)


@pytest.mark.parametrize(("compared", "turns"), [("LT", 4), ("NE", 1)])
def test_collectives_and_products_count_the_turns_of_a_loop_alike(compared: str, turns: int) -> None:
    """One that does not say its turns counts once in either."""
    text = WINDOWED.replace("direction=LT", f"direction={compared}")
    (sent,) = summarise(text, {"tp": 2}).collectives
    module = read(text)
    (dot,) = products(module, executions(module)[0], "tpu")
    assert (sent.loop, sent.turns, dot.count) == ("loop", turns, turns)


@pytest.mark.parametrize(("dtype", "passes"), [("bf16", 1), ("f32", 6)])
def test_a_convolution_is_a_product_with_passes_and_padding_is_no_work(dtype: str, passes: int) -> None:
    module = read(WINDOWED.replace("bf16", dtype))
    (dot,) = products(module, executions(module)[0], "tpu")
    assert (dot.line, dot.lhs, dot.result, dot.precision, dot.passes) == ("step.py:7", dtype, "f32", "highest", passes)
    assert (dot.count, dot.flops) == (4, 4 * 2 * 4 * 16 * 8)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("lhs_dilate", "rhs_dilate", "low"), [(1, 1, 0), (2, 1, 1), (1, 3, 2), (3, 2, 4)])
def test_pairs_that_meet_are_those_counted_one_by_one(stride: int, lhs_dilate: int, rhs_dilate: int, low: int) -> None:
    results, values, size = 7, 5, 4
    there = {value * lhs_dilate for value in range(values)}
    counted = sum(
        result * stride + place * rhs_dilate - low in there for result in range(results) for place in range(size)
    )
    assert met(results, values, size, stride, low, lhs_dilate, rhs_dilate) == counted


def test_a_real_scan_of_products_counts_every_turn() -> None:
    def layers(x: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (jnp.dot(x, w), None), x, weights)[0]

    x, weights = jnp.ones((4, 8), jnp.float32), jnp.ones((5, 8, 8), jnp.float32)
    module = read(jax.jit(layers).lower(x, weights).compile().as_text())
    times, unknown = executions(module)
    assert unknown == ()
    assert sum(dot.flops for dot in products(module, times, "cpu")) == 5 * 2 * 4 * 8 * 8
