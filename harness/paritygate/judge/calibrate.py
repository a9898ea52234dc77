"""Limits from evidence: how far the reference's harmless variants are from the noise floors → fitted rules.

Reads and writes nothing.
"""

import math
from statistics import NormalDist

# The share of a right port's values that may fail: one in ten million. Twenty seeds of all suites make one million.
ALARMS = 1e-7
# No limit is below this: where all variants are the peer to the last bit, another compiler's last bits are not.
LEAST = 1.1
# Of fewer values the largest says too little.
FEWEST = 30


def factor_of(rows: int, largest: float) -> float:
    """The limit on ρ where `largest` is the largest of `rows` values of harmless variants.

    log ρ is taken as normal about 0, so that the largest of n draws is at its 1 - 1/(n + 1) quantile; the limit is at
    the 1 - ALARMS quantile of the same normal, rounded up to hundredths. Fewer draws thus give a wider limit.
    """
    seen, allowed = (NormalDist().inv_cdf(1 - share) for share in (1 / (rows + 1), ALARMS))
    factor = max(largest, 1.0) ** (allowed / seen)
    return max(math.ceil(round(factor * 100, 6)) / 100, LEAST)
