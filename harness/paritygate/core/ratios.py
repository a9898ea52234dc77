"""How many elements of a value are how many times the golden: a factor that is missing stands out."""

from dataclasses import dataclass
from math import log2

PER_OCTAVE = 4  # bins a factor of two
MOST = 40  # what is more than 2^10 times as large, or as small, is counted in the outermost bin

_SPIKE = 0.1  # of all elements: a head of ten
_STANDS_OUT_X = 2.0  # a bin over those beside it


@dataclass(frozen=True)
class Ratios:
    """Elements by got / golden, in quarters of a power of two: `same[i]` are about 2^((first + i) / 4).

    `opposite` counts those of the other sign, by magnitude, in the same bins; `zero` those of which one side is zero
    and the other not. Where both are zero there is nothing to say. `typical` is the median of the elements in the
    fullest bin but that of 1, of either sign, and `share` the part of all elements that is in it.
    """

    first: int
    same: tuple[int, ...]
    opposite: tuple[int, ...]
    zero: int
    typical: float
    share: float

    @property
    def elements(self) -> int:
        return sum(self.same) + sum(self.opposite) + self.zero

    @property
    def factor(self) -> float | None:
        """The one factor of a tenth of the elements or more; None where no bin stands out from those beside it.

        >>> Ratios(3, (1, 6, 1), (0, 0, 0), 0, 2.0, 0.75).factor
        2.0
        """
        at = round(PER_OCTAVE * log2(abs(self.typical))) - self.first
        counts = self.opposite if self.typical < 0 else self.same
        if self.share < _SPIKE or not 0 <= at < len(counts) or (self.first + at == 0 and self.typical > 0):
            return None
        beside = [counts[i] for i in (at - 1, at + 1) if 0 <= i < len(counts)]
        return self.typical if counts[at] >= _STANDS_OUT_X * max(beside, default=0) else None

    @property
    def words(self) -> str:
        """`75 % of the elements are 2 times the golden`; empty where there is no one factor."""
        return "" if self.factor is None else f"{self.share:.0%} of the elements are {self.factor:.4g} times the golden"
