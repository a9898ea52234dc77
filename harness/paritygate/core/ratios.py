"""How many elements of a value are how many times the golden: a factor that is missing stands out."""

from dataclasses import dataclass

PER_OCTAVE = 4  # bins a factor of two
MOST = 40  # what is more than 2^10 times as large, or as small, is counted in the outermost bin


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
