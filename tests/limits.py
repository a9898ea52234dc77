"""How far a computed float may lie from the exact one, as K·eps by operation and dtype: the only tolerances in tests.

`limit(op, dtype, terms)` is relative: multiply it by the scale that the row names. Never loosen a row to get green;
find the cause. tests/test_limits.py measures each row, so that a limit can be neither broken nor idle.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

Dtype = Literal["f64", "f32", "bf16", "f16"]
Op = Literal[
    "exact", "elementwise", "transcendental", "sum", "any order", "dot", "norm", "softmax", "rotary", "block", "model"
]
Growth = Literal["constant", "sqrt", "linear"]

# Distance from 1 to the next float: 2**-(stored mantissa bits).
EPS: dict[Dtype, float] = {"f64": 2.0**-52, "f32": 2.0**-23, "bf16": 2.0**-7, "f16": 2.0**-10}


@dataclass(frozen=True)
class Limit:
    """K·eps for one operation; `terms` (values summed, or the largest position) makes it grow by `growth`."""

    k: float
    growth: Growth
    reason: str

    def at(self, dtype: Dtype, terms: int = 1) -> float:
        if terms < 1:
            raise ValueError(f"terms must be at least 1, got {terms}")
        factor = {"constant": 1.0, "sqrt": sqrt(terms), "linear": float(terms)}[self.growth]
        return self.k * factor * EPS[dtype]


LIMITS: dict[Op, Limit] = {
    "exact": Limit(0, "constant", "a copy, a transpose, a gather, a mask: not one rounding"),
    "elementwise": Limit(
        2, "constant", "up to four add, multiply or divide steps, eps/2 each; scale: the value, if nothing cancels"
    ),
    "transcendental": Limit(
        4, "constant", "exp, sin, cos, rsqrt: libm, XLA and torch promise 1 to 4 ulp; scale: max(|value|, 1)"
    ),
    "sum": Limit(
        1, "sqrt", "n roundings of random sign, eps/2 each, add up as sqrt(n); 2x for the tail; scale: sum of |terms|"
    ),
    "any order": Limit(
        0.5, "linear", "n roundings, eps/2 each, all of one sign: no order of a sum exceeds it; scale: sum of |terms|"
    ),
    "dot": Limit(
        2, "sqrt", "as sum, plus one rounding per product and one of the result; scale: norm of a times norm of b"
    ),
    "norm": Limit(
        4, "constant", "mean of squares (positive, summed pairwise), rsqrt, two products; scale: rms of the output"
    ),
    "softmax": Limit(
        8, "constant", "difference from the maximum, exp, sum, quotient, for scores below 16; scale: the largest weight"
    ),
    "rotary": Limit(
        1, "linear", "the angle position·frequency is rounded at its own size: cos and sin lose eps·position; scale: 1"
    ),
    "block": Limit(
        64, "constant", "norm, three matmuls deep, softmax or silu, width up to 256; scale: rms of the output"
    ),
    "model": Limit(
        256, "sqrt", "4 blocks' worth for what the residual stream carries on; terms: layers; scale: rms of the logits"
    ),
}  # fmt: skip


# How far apart, relative, two noise floors of a port may lie where peers differ in the order of sums only. What this
# moves to its other neighbour was nearly half way between the two, so that its own drift hardly changes: measured on
# tiny-scout, 0.002 in rel_l2 and 0.009 in the largest element of a site of several products.
FLOORS_APART = 0.02
# The same on average over the gradients by all weights. Each is one draw of what the whole pass before it has rounded
# otherwise: any harmless variant moves most by a few hundredths, a router's by a third. The average measured is 0.02.
GRADIENT_FLOORS_APART = 0.04

# How many times what devices really differ by, or one roundoff, the re-association bound may be. In float32 the worst
# case of n = 256 terms is 2n·u·Σ|ab|, with Σ|ab| = 0.64·√n of the sum: over 1,000 roundoffs, where sums in lanes cost a
# few. In bf16 single roundings lead, each at full size: 14 of them measured in the gradient of two layers.
REASSOCIATION_X: dict[Dtype, float] = {"f32": 1024, "bf16": 32}


def limit(op: Op, dtype: Dtype, terms: int = 1) -> float:
    """The allowed relative drift of `op` in `dtype`; raises KeyError for a name that is not in the table."""
    if op not in LIMITS:
        raise KeyError(f"no limit for operation {op!r}; there is one for {', '.join(get_args(Op))}")
    if dtype not in EPS:
        raise KeyError(f"no limit for dtype {dtype!r}; there is one for {', '.join(get_args(Dtype))}")
    return LIMITS[op].at(dtype, terms)


@dataclass(frozen=True)
class Emulated:
    """Least and most rel_l2 drift of an emulated product of random normal matrices, sums of 256 terms.

    Less, and nothing was emulated.
    """

    between: tuple[float, float]
    reason: str


EMULATED: dict[str, Emulated] = {
    "bf16x1": Emulated((2.1e-3, 2.6e-3), "0.42 roundoffs of 2^-8 in the rms for each of two operands: 2.3e-3"),
    "bf16x3": Emulated((0.7e-5, 2.0e-5), "middle parts, 0.42 · 2^-7, rounded, their product left out: 1.3e-5"),
    "bf16x6": Emulated((3.0e-8, 3.5e-7), "float32's own sum, one by one 0.42 · 2^-24 · √128 = 2.8e-7, in lanes less"),
    "tf32": Emulated((2.6e-4, 3.3e-4), "0.42 roundoffs of 2^-11 for each of two operands: 2.9e-4"),
    "f16-accumulate": Emulated((5.0e-4, 1.5e-3), "32 totals, each rounded: 0.42 · 2^-11 · √16 = 8e-4"),
    "bf16-accumulate": Emulated((4.0e-3, 1.2e-2), "as f16-accumulate, in roundoffs of 2^-8: 6.6e-3"),
    "e4m3-weights": Emulated((2.2e-2, 3.0e-2), "0.42 roundoffs of 2^-4 for one operand: 2.6e-2"),
    "e4m3-tensor": Emulated((3.3e-2, 4.2e-2), "0.42 roundoffs of 2^-4 for each of two operands: 3.7e-2"),
    "e4m3-channel": Emulated((3.3e-2, 4.2e-2), "0.42 roundoffs of 2^-4 for each of two operands: 3.7e-2"),
    "int8-weights": Emulated((5.0e-3, 9.0e-3), "steps of the largest of 256 (3 rms) / 127, uniform: 6.8e-3"),
}  # fmt: skip
