"""Holds each emulated arithmetic against the hardware that it emulates, where that is here."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np

from paritygate.audit.arithmetic import ARITHMETICS, Arithmetic, emulated

# Long sums and short ones, and rows that nearly cancel, on which a wrong rounding of an operand is all that is left.
_SHAPES = ((128, 1024, 128), (16, 64, 32))
_SEED = 11


@dataclass(frozen=True)
class Agreement:
    """How far an emulated product is from the device's own.

    `of_sums` is the largest difference over what two orders of the same sum may differ by: at most 1, where the device
    rounds its operands as the arithmetic says. `rel_l2` is the difference, `off` what both should be apart from the
    exact product by: the device's own rel_l2. `refused` is what the device said that has no such product.
    """

    arithmetic: str
    device: str
    of_sums: float = 0.0
    rel_l2: float = 0.0
    off: float = 0.0
    refused: str = ""

    @property
    def agrees(self) -> bool:
        return not self.refused and self.of_sums <= 1.0

    @property
    def text(self) -> str:
        if self.refused:
            return f"{self.arithmetic}: {self.device} has none: {self.refused}"
        found = "agrees" if self.agrees else "DIFFERS"
        return (
            f"{self.arithmetic} on {self.device} {found}: {self.of_sums:.2g} of what the order of sums allows"
            f" (rel_l2 {self.rel_l2:.1e} apart, the device {self.off:.1e} from exact)"
        )


def agreements() -> list[Agreement]:
    """Of each arithmetic that the default device is known to have; none on a CPU, which has only its own."""
    (device, *_) = jax.devices()
    asked = [(each, each.native[device.platform]) for each in ARITHMETICS.values() if device.platform in each.native]
    return [_agreement(arithmetic, name, device.device_kind) for arithmetic, name in asked]


def compared(arithmetic: Arithmetic, theirs: np.ndarray, lhs: np.ndarray, rhs: np.ndarray, device: str) -> Agreement:
    """The arithmetic's product of two float32 matrices, beside a device's."""
    with jax.default_device(jax.devices("cpu")[0]):
        ours = np.asarray(emulated(jnp.matmul, arithmetic.name)(lhs, rhs), np.float64)
    exact = lhs.astype(np.float64) @ rhs.astype(np.float64)
    apart = np.abs(ours - theirs)
    size = np.linalg.norm(exact)
    return Agreement(
        arithmetic.name,
        device,
        float(np.where(np.isnan(apart), np.inf, apart / arithmetic.of_sums(lhs, rhs)).max()),
        float(np.linalg.norm(apart) / size),
        float(np.linalg.norm(theirs - exact) / size),
    )


def _agreement(arithmetic: Arithmetic, native: str, device: str) -> Agreement:
    precision = getattr(jax.lax.Precision, native, None) or jax.lax.DotAlgorithmPreset[native]

    def multiply(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return jax.lax.dot_general(lhs, rhs, (((1,), (0,)), ((), ())), precision=precision)

    found: list[Agreement] = []
    for lhs, rhs in _operands():
        try:
            theirs = np.asarray(jax.jit(multiply)(lhs, rhs), np.float64)
        except Exception as reason:  # an older chip has fewer; what it says is the finding
            return Agreement(arithmetic.name, device, refused=str(reason).partition("\n")[0])
        found.append(compared(arithmetic, theirs, lhs, rhs, device))
    return max(found, key=lambda each: each.of_sums)


def _operands() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(_SEED).standard_normal
    for rows, terms, columns in _SHAPES:
        yield draw((rows, terms)).astype(np.float32), draw((terms, columns)).astype(np.float32)
        half, other = draw((rows, terms // 2)), draw((terms // 2, columns))
        near = -half * (1 + 2.0**-10 * draw(half.shape))
        yield np.hstack([half, near]).astype(np.float32), np.vstack([other, other]).astype(np.float32)


if __name__ == "__main__":
    print(json.dumps([asdict(each) | {"agrees": each.agrees, "text": each.text} for each in agreements()]))
