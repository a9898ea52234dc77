"""How many elements of a value differ by how much, compact enough for a line of results and so for a later judge."""

from dataclasses import dataclass

TAIL = "tail"  # the name under which a budget judges it

# Exponents of the bins: what differs by less, or by more, is counted in the outermost.
LEAST, MOST = -10, 63


@dataclass(frozen=True)
class Histogram:
    """Elements by the power of two of their difference in roundoffs.

    A roundoff is the unit roundoff of the candidate's dtype times the rms of the golden. `zero` elements are equal;
    `counts[i]` differ by 2^(first + i) roundoffs or more, up to twice that. `first` and the last bin hold some.
    """

    zero: int
    first: int
    counts: tuple[int, ...]

    @property
    def elements(self) -> int:
        return self.zero + sum(self.counts)

    def beyond(self, exponent: int) -> float:
        """The fraction of the elements that differ by 2^exponent roundoffs or more.

        >>> Histogram(6, 2, (3, 0, 1)).beyond(3)
        0.1
        """
        return sum(self.counts[max(exponent - self.first, 0) :]) / self.elements

    def within(self, fraction: float) -> int:
        """The least exponent such that at least this fraction differs by less than 2^exponent roundoffs.

        >>> Histogram(6, 2, (3, 0, 1)).within(0.9)
        3
        """
        return next(
            exponent
            for exponent in range(self.first, self.first + len(self.counts) + 1)
            if 1.0 - self.beyond(exponent) >= fraction
        )
