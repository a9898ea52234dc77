"""Discrete choices: where the candidate chooses otherwise than the golden, and what the judge makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Flip:
    """A token at which the candidate chooses otherwise than the golden.

    `token` is its row and slot; `golden` and `got` are the alternatives that only that side chose. `margin` is by how
    much the golden scores of the former exceed those of the latter, of all their pairs the most; `scale` the sum of the
    magnitudes of that pair's golden scores, each at least the rms of the token's. `own` is by how much the candidate's
    own scores prefer what it chose, of all pairs the least: below 0 it did not choose by its scores. `depth` counts the
    decisions since the first at which its row flipped, at this token or one before it: 0 is a flip by itself, any other
    one follows from it.
    """

    token: tuple[int, int]
    golden: tuple[int, ...]
    got: tuple[int, ...]
    margin: float
    scale: float
    own: float
    depth: int = 0

    @property
    def ratio(self) -> float:
        """The margin relative to the scale: the relative change of both scores, against each other, that makes it."""
        return self.margin / self.scale if self.scale else self.margin


@dataclass(frozen=True)
class Decided:
    """How a choice compares: of `tokens`, `flipped` flipped by themselves and `cascaded` followed from earlier flips.

    `scores` is the port that it is made by. `flips` are those with the widest margins for their scale, those by
    themselves first.
    """

    scores: str
    tokens: int
    flipped: int = 0
    cascaded: int = 0
    flips: tuple[Flip, ...] = ()


@dataclass(frozen=True)
class Agreeing:
    """The tokens that a value was compared over where choices before it differ: `tokens` of `of` real ones.

    `floors` are the peer's drifts over the same tokens.
    """

    tokens: int
    of: int
    floors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Excuse:
    """What the judge makes of a choice's flips: `excused` by margin, `refused`, and `cascaded` from excused ones.

    `bound_x` is the local bound: a flip is excused up to this ratio of its margin to its scale.
    """

    bound_x: float
    excused: int
    refused: int
    cascaded: int

    def allows(self, flip: Flip) -> bool:
        """Whether rounding can have made a flip by itself: within the bound, and not against the candidate's scores."""
        return flip.own >= 0.0 and flip.ratio <= self.bound_x
