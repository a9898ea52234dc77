"""How far a right program may go when devices share its work: the program run again, every rounding of it moved.

A mesh may change three things of a right program. Each is made here, at full size and with a pseudo-random sign:

- the order of a sum. Two orders of n terms, products or not, differ by at most 2γ(n)·Σ|aᵢbᵢ|, where γ(n) is
  (1 + u)ⁿ - 1 and at most 1, and u is the roundoff of what is summed in (Higham, Accuracy and Stability of Numerical
  Algorithms, 3.1): float32 for matrix products of 16 bits, the dtype itself for other sums, whose steps XLA rounds;
- the rounding of each part of a product: where its result has 16 bits and its terms lie on several devices, each device
  rounds its part to 16 bits, which comes to at most one roundoff of 16 bits of Σ|aᵢbᵢ|;
- what XLA fuses: with other shapes and shardings another rounding is left out, or made. Any other float result that
  is rounded is off by at most one roundoff of its dtype.

What it is: a run, so that later layers amplify what earlier ones move, and a choice flips where it may. Of a value that
is one sum it is the worst case, for every element is moved at full size in every draw. What it is not: the worst case
of a deep value. What moves there adds up as random signs do, and signs that conspire would go further; but real
roundings are far below their worst case, more so the longer the sum. It grows with n·√n, so that in float32 sums of
thousands of terms hide what is as small as a roundoff of 16 bits. A single number, such as a loss, may by chance move
little in one draw: take the largest of several. Behind a choice that flips (the experts of a token) it is as large as
the flip; whether a flip is allowed is judged by its margin, and not by this.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from paritygate.audit.arithmetic import CONTRACTIONS, contracted
from paritygate.audit.interpret import At, Rule, rewritten
from paritygate.audit.promote import bound as evaluated
from paritygate.audit.promote import is_float

# What is in neither list stands still, and makes the bound smaller: an alarm too many, and no fault passed over.
_ROUNDS = (
    "acos acosh add add_any asin asinh atan atan2 atanh cbrt convert_element_type cos cosh cumlogsumexp cumprod digamma"
    " div erf erf_inv erfc exp exp2 expm1 integer_pow lgamma log log1p logistic mul pow reduce_prod rem rsqrt sin sinh"
    " sqrt square sub tan tanh"
).split()
_SUMS = ("reduce_sum", "cumsum", "reduce_window_sum", "scatter-add")


class Moved(NamedTuple):
    """What a function gives, and what it gives in each draw: the same tree, each leaf with the draws in front."""

    unmoved: Any
    moved: Any


def moved(function: Callable[..., Any], split: int, draws: int = 3) -> Callable[..., Moved]:
    """`function` as it is and in `draws` runs with each rounding moved, as one program that is compiled once.

    `split` is the most devices over which the layout divides what a sum runs over. The distance of a moved run from the
    unmoved one, the largest over the draws, is the bound: see above. Take derivatives first, as for `rewritten`. The
    same function and arguments give the same bits.
    """

    def run(*args: Any, **kwargs: Any) -> Moved:
        def once(draw: Array) -> Any:
            return moved_once(function, split)(draw, *args, **kwargs)

        found = jax.lax.map(once, jnp.arange(draws + 1, dtype=jnp.uint32))
        return Moved(jax.tree.map(lambda each: each[0], found), jax.tree.map(lambda each: each[1:], found))

    return run


def moved_once(function: Callable[..., Any], split: int) -> Callable[..., Any]:
    """One of the runs of `moved`: a function of the number of the draw, an uint32, and of what `function` takes.

    Draw 0 moves nothing: the same code, so that nothing else differs.
    """

    def run(draw: Array, *args: Any, **kwargs: Any) -> Any:
        return rewritten(function, _Draw(draw, split).rules())(*args, **kwargs)

    return run


@dataclass(frozen=True)
class _Draw:
    """One run; each equation has a number of its own, from which and from the draw its signs come."""

    draw: Array
    split: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def rules(self) -> Mapping[str, Rule]:
        made = ((CONTRACTIONS, self.product), (_SUMS, self.sum), (_ROUNDS, self.rounding))
        return {name: rule for names, rule in made for name in names}

    def product(self, at: At, inputs: list[Any]) -> Sequence[Any]:
        (result,) = evaluated(at.eqn, inputs)
        if not is_float(result.dtype):
            return [result]
        lhs, rhs, *rest = inputs
        wide = _wide(result)
        terms = math.prod(rhs.shape[axis] for axis in contracted(at)[1])
        (scale,) = evaluated(at.eqn, [abs(lhs), abs(rhs), *rest], at.eqn.params | {"preferred_element_type": wide})
        return [self._of_sum(result, scale, terms, wide)]

    def sum(self, at: At, inputs: list[Any]) -> Sequence[Any]:
        (result,) = evaluated(at.eqn, inputs)
        if not is_float(result.dtype):
            return [result]
        (scale,) = evaluated(at.eqn, [abs(each) if is_float(each.dtype) else each for each in inputs])
        return [self._of_sum(result, scale, _terms(at, inputs), result.dtype)]

    def rounding(self, at: At, inputs: list[Any]) -> Sequence[Any]:
        (result,) = evaluated(at.eqn, inputs)
        widened = at.eqn.primitive.name == "convert_element_type" and not _narrows(inputs[0].dtype, result.dtype)
        if widened or not is_float(result.dtype):
            return [result]
        return [self._moved(result, result, 0.0, _roundoff(result.dtype))]

    def _of_sum(self, result: Array, scale: Array, terms: Any, summed_in: np.dtype) -> Array:
        """A sum moved; its scale is Σ|aᵢbᵢ|. A result that is narrower than what is summed in is rounded once more."""
        order = 2 * jnp.minimum(jnp.expm1(terms * math.log1p(_roundoff(summed_in))), 1)
        once = _roundoff(result.dtype) if summed_in != result.dtype else 0.0
        return self._moved(result, scale, order + (once if self.split > 1 else 0.0), once)

    def _moved(self, result: Array, scale: Array, of_scale: Any, own: float) -> Array:
        key = self.draw * np.uint32(0x9E3779B9) ^ np.uint32(next(self.numbers) * 0x85EBCA6B & 0xFFFFFFFF)
        return _shifted(result, scale, of_scale, own, key, self.draw > 0)


@jax.jit
def _shifted(value: Array, scale: Array, of_scale: Any, own: Any, key: Array, moves: Array) -> Array:
    """The value moved by of_scale · scale + own · |value|, up or down as its place, its bits and the key say.

    Bits, so that each turn of a loop has signs of its own. What is at the end of the dtype's range stands still (it
    masks), and so does a whole number of 32 bits or more: a count or a position, which nothing rounds.
    """
    wide = _wide(value)
    size = abs(value).astype(wide)
    bits = jax.lax.bitcast_convert_type(value, f"uint{8 * value.dtype.itemsize}").astype(jnp.uint32)
    mixed = (jax.lax.iota(jnp.uint32, value.size).reshape(value.shape) * np.uint32(0x9E3779B1) + key) ^ bits
    mixed = mixed * np.uint32(0xC2B2AE35)
    mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x27D4EB2F)
    far = (of_scale * abs(scale).astype(wide) + own * size).astype(wide)
    still = ~(far + size < float(jnp.finfo(value.dtype).max) / 2) | ~moves
    if value.dtype.itemsize >= 4:
        still |= value == jnp.round(value)
    far = jnp.where(still, 0, jnp.where(mixed < np.uint32(1 << 31), far, -far))
    return (value.astype(wide) + far).astype(value.dtype)


def _terms(at: At, inputs: list[Any]) -> Any:
    """How many terms a sum has; of a scatter, for each element how many land on it, and itself."""
    name, params = at.eqn.primitive.name, at.eqn.params
    if name == "reduce_sum":
        return math.prod(inputs[0].shape[axis] for axis in params["axes"])
    if name == "cumsum":
        return inputs[0].shape[params["axis"]]
    if name == "reduce_window_sum":
        return math.prod(params["window_dimensions"])
    onto, indices, updates = inputs
    (counted,) = evaluated(at.eqn, [jnp.ones_like(onto), indices, jnp.ones_like(updates)])
    return counted


def _wide(value: Any) -> np.dtype:
    """What a value is moved in, and a product of it is summed in: at least float32."""
    return jnp.promote_types(value.dtype, jnp.float32)


def _roundoff(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps) / 2


def _narrows(before: Any, after: Any) -> bool:
    return is_float(before) and is_float(after) and _roundoff(after) > _roundoff(before)
