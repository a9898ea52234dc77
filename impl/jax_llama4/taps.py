"""Tap: an identity module that gives an inner value an address."""

from flax import nnx
from jaxtyping import Array, Shaped


class Tap(nnx.Module):
    """Return the input unchanged.

    A module's output can be read by its path (`nnx.capture(..., method_outputs=nnx.Intermediate)`); a local variable
    cannot. A tap has no state, and the compiler removes it.
    """

    def __call__(self, x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return x
