"""Arithmetics of matrix products, one row each, and the rules that put one in place of a candidate's own.

A row emulates what named hardware does to float operands of at most 32 bits: products are exact, sums are float32
unless the row says otherwise, and the result is rounded once to the dtype that the equation gives.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from paritygate.audit.interpret import At, Rule, rewritten
from paritygate.audit.rounding import E4M3, E5M2, Format, to_bf16, to_f16, to_float8, to_tf32, truncated_to_bf16
from paritygate.audit.source import source_line
from paritygate.core.errors import UsageError, unknown_name

Scale = Literal["tensor", "channel"]
Multiply = Callable[[Array, Array], Array]  # the equation itself, in float32 at the highest precision

F32_ROUNDOFF, F16_ROUNDOFF, BF16_ROUNDOFF = 2.0**-24, 2.0**-11, 2.0**-8
_SMALLEST_NORMAL = 2.0**-126


@dataclass(frozen=True)
class Arithmetic:
    """How a product is computed, and how far that may be from the exact one.

    `emulate` gets the equation, its float32 operands and the plain product. An operand x is off by at most
    `relative` · |x| + `of_largest` · max|x|, the largest being that of its `scale` group; `missing` is what products
    that are left out come to, as a fraction of |A||B|. `accumulation` is the roundoff of the sum, which is rounded once
    for each `block` terms. `rounds` says which operands all that is true of.
    """

    name: str
    hardware: str
    formula: str
    source: str
    emulate: Callable[[At, Array, Array, Multiply], Array]
    relative: float = 0.0
    of_largest: float = 0.0
    missing: float = 0.0
    accumulation: float = F32_ROUNDOFF
    block: int = 1
    scale: Scale = "channel"
    rounds: Literal["both", "weights"] = "both"
    native: Mapping[str, str] = field(default_factory=dict)

    def bound(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        """How far each element of lhs (M, K) @ rhs (K, N) may be from exact; where one is a weight, it is rhs. Float64.

        |A|F + E|B| + EF + missing·|A||B| + γ(|A| + E)(|B| + F), E and F being the bounds of the operands, and
        γ = nu/(1 - nu) for n roundings of roundoff u (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and
        what underflow to zero may cost.
        """
        a, b = np.abs(lhs.astype(np.float64)), np.abs(rhs.astype(np.float64))
        e, f = self._operands(a, b)
        return a @ f + e @ b + e @ f + self.missing * (a @ b) + self._summing(a + e, b + f)

    def of_sums(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        """How far two orders of the same sum of the same rounded operands may be apart: twice what each may cost."""
        a, b = np.abs(lhs.astype(np.float64)), np.abs(rhs.astype(np.float64))
        e, f = self._operands(a, b)
        return 2 * self._summing(a + e, b + f)

    def _summing(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        terms = a.shape[1]
        roundings = -(-terms // self.block) + 2
        gamma = roundings * self.accumulation / (1 - roundings * self.accumulation)
        gamma += terms * F32_ROUNDOFF if self.block > 1 else 0.0
        smallest = _SMALLEST_NORMAL if self.accumulation == F32_ROUNDOFF else 2.0**-24
        lost = smallest * (terms + a.sum(axis=1, keepdims=True) + b.sum(axis=0, keepdims=True))
        return gamma * (a @ b) + lost

    def _operands(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far each operand may be off."""
        return self._operand(a, 1) if self.rounds == "both" else np.zeros_like(a), self._operand(b, 0)

    def _operand(self, x: np.ndarray, axis: int) -> np.ndarray:
        largest = x.max(axis=None if self.scale == "tensor" else axis, keepdims=True)
        return self.relative * x + self.of_largest * largest


def rules(name: str) -> Mapping[str, Rule]:
    """The interpreter's rules for an arithmetic: one for each primitive that multiplies matrices.

    Raises UsageError on an unknown name.
    """
    if name not in ARITHMETICS:
        raise unknown_name("matmul arithmetic", name, list(ARITHMETICS))
    return dict.fromkeys(CONTRACTIONS, partial(_apply, ARITHMETICS[name]))


def emulated(function: Callable[..., Any], matmul: str, weights: Sequence[int] = ()) -> Callable[..., Any]:
    """`function` with its matrix products in an arithmetic; as it is where `matmul` is empty. See `rewritten`."""
    return rewritten(function, rules(matmul), weights) if matmul else function


def _apply(arithmetic: Arithmetic, at: At, inputs: list[Any]) -> Sequence[Any]:
    lhs, rhs, *rest = inputs
    primitive, params = at.eqn.primitive, at.eqn.params
    dtypes = (lhs.dtype, rhs.dtype)
    if not any(jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes):  # whole numbers are multiplied exactly
        return [primitive.bind(lhs, rhs, *rest, **params)]
    if any(not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize > 4 for dtype in dtypes):
        raise UsageError(
            "no such product in this arithmetic",
            where=f"{primitive.name} at {source_line(at.eqn)}",
            expected=f"float operands of at most 32 bits, for {arithmetic.name}",
            got=" and ".join(dtype.name for dtype in dtypes),
        )
    highest = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
    wide = params | {"precision": highest, "preferred_element_type": np.dtype(np.float32)}

    def multiply(lhs: Array, rhs: Array) -> Array:
        return primitive.bind(lhs, rhs, *rest, **wide)

    found = arithmetic.emulate(at, lhs.astype(jnp.float32), rhs.astype(jnp.float32), multiply)
    gives: Any = at.eqn.outvars[0].aval
    return [found.astype(gives.dtype)]


def contracted(at: At) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of each operand that are summed over."""
    params = at.eqn.params
    if at.eqn.primitive.name == "conv_general_dilated":
        numbers = params["dimension_numbers"]
        return tuple(numbers.lhs_spec[1:]), tuple(numbers.rhs_spec[1:])
    numbers = params.get("dimension_numbers") or params["ragged_dot_dimension_numbers"].dot_dimension_numbers
    return tuple(numbers[0][0]), tuple(numbers[0][1])


def _rounded(at: At, lhs: Array, rhs: Array, multiply: Multiply, round: Callable[[Array], Array]) -> Array:
    return multiply(round(lhs), round(rhs))


def _split(at: At, lhs: Array, rhs: Array, multiply: Multiply, parts: int) -> Array:
    """Smallest products first. What is not finite among them is dropped: the product of the high parts has it too.

    The products of one part of the left are taken at once, with the sum of the parts of the right, which float32 holds
    exactly: the same terms, added in another order, in half as many products.
    """
    left, right = _parts(lhs, parts), _parts(rhs, parts)
    sums = [right[0]]
    for part in right[1:]:
        sums.append(jnp.where(jnp.isfinite(rhs), sums[-1] + part, rhs))
    high, *low = [multiply(part, of_right) for part, of_right in zip(left, reversed(sums), strict=True)]
    total: Any = sum(reversed(low))
    return jnp.where(jnp.isfinite(total), total, 0) + high


def _parts(x: Array, count: int) -> list[Array]:
    """Of what is not finite, all but the first are NaN."""
    found: list[Array] = []
    for _ in range(count - 1):
        found.append(truncated_to_bf16(x))
        x = x - found[-1]
    return [*found, to_bf16(x)]


def _in_blocks(
    at: At, lhs: Array, rhs: Array, multiply: Multiply, block: int, total: Any, round: Callable[[Array], Array]
) -> Array:
    """Sums `block` products of rounded operands, adds them to a total of that dtype, and so on."""
    if at.eqn.primitive.name != "dot_general":
        raise UsageError(
            "no such product in this arithmetic",
            where=f"{at.eqn.primitive.name} at {source_line(at.eqn)}",
            expected="dot_general, which can be summed block by block",
        )
    (left, right), (left_batch, right_batch) = at.eqn.params["dimension_numbers"]

    def blocks(x: Array, contracted: Sequence[int], batch: Sequence[int]) -> Array:
        """(blocks, *batch, free, block)"""
        free = [axis for axis in range(x.ndim) if axis not in (*contracted, *batch)]
        x = x.transpose(*batch, *free, *contracted)
        x = x.reshape(*x.shape[: len(batch)], int(np.prod([x.shape[len(batch) + i] for i in range(len(free))])), -1)
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % block)])
        return jnp.moveaxis(x.reshape(*x.shape[:-1], -1, block), -2, 0)

    ones, others = blocks(round(lhs), left, left_batch), blocks(round(rhs), right, right_batch)
    batch = tuple(range(len(left_batch)))
    numbers = (((ones.ndim - 2,), (others.ndim - 2,)), (batch, batch))

    def step(so_far: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        added = jax.lax.dot_general(*pair, numbers, precision=jax.lax.Precision.HIGHEST)
        return (so_far.astype(jnp.float32) + added).astype(total), None

    shape = (*ones.shape[1:-1], others.shape[-2])
    whole, _ = jax.lax.scan(step, jnp.zeros(shape, total), (ones, others))
    gives: Any = at.eqn.outvars[0].aval
    return whole.astype(jnp.float32).reshape(gives.shape)


def _as_is(x: Array) -> Array:
    return x


def _scaled_float(x: Array, axes: Sequence[int], scale: Scale, format: Format) -> Array:
    unit = _unit(x, axes, scale, format.largest)
    return to_float8(x / unit, format) * unit


def _scaled_integer(x: Array, axes: Sequence[int]) -> Array:
    unit = _unit(x, axes, "channel", 127)
    return jnp.clip(jnp.round(x / unit), -127, 127) * unit


def _unit(x: Array, axes: Sequence[int], scale: Scale, most: float) -> Array:
    """What `most` stands for in each group: its largest is that many units; where all of one are 0, 1."""
    largest = jnp.max(jnp.abs(x), axis=None if scale == "tensor" else tuple(axes), keepdims=True, initial=0.0)
    # XLA makes a product with the reciprocal of a division by a constant: said here, it is the same wherever it runs.
    return jnp.where(largest == 0, 1, largest * np.float32(1 / most))


def _float8(at: At, lhs: Array, rhs: Array, multiply: Multiply, scale: Scale) -> Array:
    operands = zip((lhs, rhs), contracted(at), at.origins, strict=False)
    left, right = (_scaled_float(x, axes, scale, E5M2 if origin.cotangent else E4M3) for x, axes, origin in operands)
    return multiply(left, right)


def _weights(
    at: At, lhs: Array, rhs: Array, multiply: Multiply, round: Callable[[Array, Sequence[int]], Array]
) -> Array:
    operands = zip((lhs, rhs), contracted(at), at.origins, strict=False)
    left, right = (round(x, axes) if origin.weight else x for x, axes, origin in operands)
    return multiply(left, right)


_XLA = "xla/backends/gpu/codegen/triton/dot_algorithms.cc; Henry, Tang, Heinecke 2019, arXiv 1904.06376"
_E4M3_RELATIVE = 2.0**-4 + 2.0**-22  # and the quotient by the scale and the product with it, in float32

_ROWS = (
    Arithmetic(
        "bf16x1", "TPU, precision DEFAULT; GPU, BF16_BF16_F32",
        "bf16(a) · bf16(b), to nearest even", "jax.lax.Precision, jax.lax.DotAlgorithmPreset",
        partial(_rounded, round=to_bf16), relative=2.0**-8,
        native={"gpu": "BF16_BF16_F32", "tpu": "DEFAULT"},
    ),
    Arithmetic(
        "bf16x3", "TPU, precision HIGH; GPU, BF16_BF16_F32_X3",
        "x = h + m, h cut off, m rounded: am·bh + ah·(bh + bm)", _XLA,
        partial(_split, parts=2), missing=2.0**-13,
        native={"gpu": "BF16_BF16_F32_X3", "tpu": "HIGH"},
    ),
    Arithmetic(
        "bf16x6", "TPU, precision HIGHEST; GPU, BF16_BF16_F32_X6",
        "x = h + m + l exactly: (al·bh + am·(bh + bm)) + ah·(bh + bm + bl)", _XLA,
        partial(_split, parts=3), missing=2.0**-20 + 2.0**-28,
        native={"gpu": "BF16_BF16_F32_X6", "tpu": "HIGHEST"},
    ),
    Arithmetic(
        "tf32", "NVIDIA GPU since A100, precision DEFAULT",
        "tf32(a) · tf32(b): 10 mantissa bits, to nearest, ties away", "PTX ISA, cvt.rna.tf32.f32",
        partial(_rounded, round=to_tf32), relative=2.0**-11,
        native={"gpu": "TF32_TF32_F32"},
    ),
    Arithmetic(
        "f16-accumulate", "NVIDIA A100, HMMA with float16 accumulators; GPU, F16_F16_F16",
        "t ← f16(t + Σ of 8 products), in turn", "Fasi, Higham, Mikaitis, Pranesh 2021, PeerJ CS 7:e330",
        partial(_in_blocks, block=8, total=jnp.float16, round=to_f16),
        relative=2.0**-11, accumulation=F16_ROUNDOFF, block=8,
        native={"gpu": "F16_F16_F16"},
    ),
    Arithmetic(
        "bf16-accumulate", "none: a kernel that keeps its sum in the dtype of a bfloat16 result",
        "t ← bf16(t + Σ of 8 products), in turn, of operands as they are", "the fault linear-summed-in-16-bits",
        partial(_in_blocks, block=8, total=jnp.bfloat16, round=_as_is), accumulation=BF16_ROUNDOFF, block=8,
    ),
    Arithmetic(
        "e4m3-weights", "any that stores weights in 8 bits and multiplies wider",
        "w = s · e4m3(w / s), s = max|w| / 448 of the output channel", "OCP OFP8 1.0",
        partial(_weights, round=partial(_scaled_float, scale="channel", format=E4M3)),
        relative=_E4M3_RELATIVE, of_largest=2.0**-10 / 448, rounds="weights",
    ),
    Arithmetic(
        "e4m3-tensor", "NVIDIA H100, TPU v7: float8 operands, one scale a tensor",
        "x = s · e4m3(x / s), s = max|x| / 448; a gradient e5m2, s = max|x| / 57344",
        "OCP OFP8 1.0; Micikevicius et al. 2022, arXiv 2209.05433",
        partial(_float8, scale="tensor"),
        relative=_E4M3_RELATIVE, of_largest=2.0**-10 / 448, scale="tensor",
    ),
    Arithmetic(
        "e4m3-channel", "NVIDIA H100, TPU v7: float8 operands, one scale a token and an output channel",
        "as e4m3-tensor, the largest over what is summed", "OCP OFP8 1.0; Micikevicius et al. 2022, arXiv 2209.05433",
        partial(_float8, scale="channel"), relative=_E4M3_RELATIVE, of_largest=2.0**-10 / 448,
    ),
    Arithmetic(
        "int8-weights", "any that stores weights in 8 bits and multiplies wider",
        "w = s · round(w / s), s = max|w| / 127 of the output channel", "Dettmers et al. 2022, arXiv 2208.07339, 2.1",
        partial(_weights, round=_scaled_integer), relative=2.0**-22, of_largest=1 / 254, rounds="weights",
    ),
)  # fmt: skip

ARITHMETICS: Mapping[str, Arithmetic] = {row.name: row for row in _ROWS}
CONTRACTIONS = ("dot_general", "ragged_dot_general", "ragged_dot", "conv_general_dilated")
