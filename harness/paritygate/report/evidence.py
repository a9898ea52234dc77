"""What a row shows beside its numbers, in words: differences in steps of the dtype, a factor that is missing, flips."""

import math
from typing import Literal

from paritygate.core.decision import Excuse, Flip
from paritygate.core.drift import Drift, Element
from paritygate.core.ratios import PER_OCTAVE, Ratios
from paritygate.report.words import number

# Stored bits of the mantissa, and the exponent of the smallest normal number.
FORMATS = {"float64": (52, -1022), "float32": (23, -126), "float16": (10, -14), "bfloat16": (7, -126)}

_SPIKE = 0.1  # of all elements: a part that has one factor
_STANDS_OUT_X = 2.0  # a bin over those beside it
_SAME = 0.005  # how near a factor is to the number that it is taken for: a bin is 18 % wide

Fate = Literal["excused", "refused", "follows"]


def ulps(element: Element, dtype: str) -> float | None:
    """The difference in steps of the dtype at the golden, as the metric `max_ulp` counts; None of another dtype."""
    if dtype not in FORMATS:
        return None
    mantissa, least = FORMATS[dtype]
    exponent = max(math.frexp(element.golden)[1] - 1, least) if element.golden else least
    return abs(element.got - element.golden) / math.ldexp(1.0, exponent - mantissa)


def factor_words(drift: Drift) -> str:
    """`62 % of the elements are 3.162 times the golden: √H, H = 10`; empty where no factor stands out."""
    ratios = drift.ratios
    if ratios is None or ratios.share < _SPIKE or not _stands_out(ratios):
        return ""
    said = f"{ratios.share:.0%} of the elements are {ratios.typical:.4g} times the golden"
    sizes = {} if drift.error_map is None else {a.letter: a.size for a in (*drift.error_map.down, *drift.error_map.across)}
    name = _named(ratios.typical, {letter: size for letter, size in sizes.items() if letter not in "BTSIP"})
    return f"{said}: {name}" if name else said


def _stands_out(ratios: Ratios) -> bool:
    bin_ = round(PER_OCTAVE * math.log2(abs(ratios.typical))) - ratios.first
    counts = ratios.opposite if ratios.typical < 0 else ratios.same
    beside = [counts[i] for i in (bin_ - 1, bin_ + 1) if 0 <= i < len(counts)]
    return bin_ in range(len(counts)) and counts[bin_] >= _STANDS_OUT_X * max(beside, default=0)


def _named(factor: float, sizes: dict[str, int]) -> str:
    """What a factor is of the lengths of a value's axes; empty where it is none."""
    for letter, size in sizes.items():
        for power, name in ((1.0, "{}"), (0.5, "√{}"), (-1.0, "1/{}"), (-0.5, "1/√{}")):
            if size > 1 and abs(abs(factor) / size**power - 1.0) < _SAME:
                return f"{'−' if factor < 0 else ''}{name.format(letter)}, {letter} = {size}"
    return "the sign is the other" if abs(factor + 1.0) < _SAME else ""


def fate(flip: Flip, excuse: Excuse) -> Fate:
    """What the judge made of one flip."""
    if flip.depth:
        return "follows" if excuse.cascaded else "refused"
    return "excused" if excuse.allows(flip) else "refused"


def margin_words(flip: Flip) -> str:
    return number(flip.ratio) + (", against its own scores" if flip.own < 0.0 else "")
