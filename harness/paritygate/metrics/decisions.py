"""Choices token by token: which flipped, by which margin, and which tokens no flip can have reached.

Reads and writes nothing.
"""

from collections.abc import Iterable

import numpy as np

from paritygate.core.decision import Decided, Flip
from paritygate.core.layout import convert, parse
from paritygate.metrics.base import LARGEST

KEPT = 16
NEVER = np.iinfo(np.int64).max  # the first flipped slot of a row that has none


def by_token(array: np.ndarray, layout: str, shape: tuple[int, ...]) -> np.ndarray:
    """(B, T, ·) of a choice or of its scores, whose layout ends in what is chosen from; `shape` is (B, T)."""
    return convert(array, layout, f"B T {parse(layout)[-1][-1]}", dict(zip("BT", shape, strict=True)))


def differing(golden: np.ndarray, got: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Bool (B, T): the real tokens whose choices, (B, T, k) and ascending, are not the same."""
    return (golden != got).any(-1) & real


def first_slots(flipped: np.ndarray, start: int = 0) -> np.ndarray:
    """Int (B): the first flipped slot of each row, `start` being the slot of the first token; NEVER for none."""
    return np.where(flipped.any(-1), flipped.argmax(-1) + start, NEVER)


def unreached(real: np.ndarray, firsts: Iterable[np.ndarray], start: int = 0) -> np.ndarray:
    """Bool (B, T): the real tokens before the first flip of their row, which a causal model computes without it.

    A token behind a flip sees it, and what it sees is no rounding: it counts as reached whatever weight it gives it.
    """
    slots = np.arange(start, start + real.shape[-1])
    reached = np.zeros_like(real)
    for first in firsts:
        reached |= slots >= first[:, None]
    return real & ~reached


def decide(
    golden: np.ndarray,
    got: np.ndarray,
    scores: np.ndarray,
    own: np.ndarray,
    real: np.ndarray,
    *,
    port: str,
    firsts: Iterable[np.ndarray] = (),
    start: int = 0,
) -> Decided:
    """Compares choices `golden` and `got` (B, T, k), made by `scores` and the candidate's `own` scores (B, T, E).

    `firsts` are the first flipped slots of the decisions before this one, the latest last.
    """
    earlier = list(firsts)
    flips = [
        _flip((int(b), int(t)), golden, got, scores, own, earlier, start)
        for b, t in np.argwhere(differing(golden, got, real))
    ]
    flips.sort(key=lambda flip: (flip.depth > 0, -flip.ratio, flip.token))
    cascaded = sum(flip.depth > 0 for flip in flips)
    return Decided(port, int(real.sum()), len(flips) - cascaded, cascaded, tuple(flips[:KEPT]))


def _flip(
    at: tuple[int, int],
    golden: np.ndarray,
    got: np.ndarray,
    scores: np.ndarray,
    own: np.ndarray,
    firsts: list[np.ndarray],
    start: int,
) -> Flip:
    row, slot = at[0], at[1] + start
    wanted, taken = set(golden[at].tolist()), set(got[at].tolist())
    lost, gained = sorted(wanted - taken), sorted(taken - wanted)
    ours, theirs = scores[at].astype(np.float64), own[at].astype(np.float64)
    margin, preference = LARGEST, -LARGEST
    rms = scale = float(np.sqrt(np.mean(ours**2)))
    if lost and gained and gained[0] >= 0 and gained[-1] < len(ours):
        high, low = ours[lost].max(), ours[gained].min()
        margin, scale = float(high - low), float(max(abs(high), rms) + max(abs(low), rms))
        preference = float(theirs[gained].min() - theirs[lost].max())
    reached = (len(firsts) - i for i, first in enumerate(firsts) if first[row] <= slot)
    return Flip(
        (row, slot),
        tuple(map(int, lost)),
        tuple(map(int, gained)),
        min(margin, LARGEST) if np.isfinite(margin) else LARGEST,
        scale,
        preference if np.isfinite(preference) else -LARGEST,
        next(reached, 0),
    )
