"""What a row shows beside its numbers: differences in steps of the dtype, flips, and whether it is drawn."""

import math
from typing import Literal

from paritygate.core.decision import Excuse, Flip
from paritygate.core.drift import Element, Row
from paritygate.report.data import failing
from paritygate.report.words import ENDLESS, count, number

# Stored bits of the mantissa, and the exponent of the smallest normal number.
FORMATS = {"float64": (52, -1022), "float32": (23, -126), "float16": (10, -14), "bfloat16": (7, -126)}

Fate = Literal["excused", "refused", "follows"]


def ulps(element: Element, dtype: str) -> float | None:
    """The difference in steps of the dtype at the golden, as the metric `max_ulp` counts; None of another dtype."""
    if dtype not in FORMATS:
        return None
    mantissa, least = FORMATS[dtype]
    exponent = max(math.frexp(element.golden)[1] - 1, least) if element.golden else least
    return min(abs(element.got - element.golden) / math.ldexp(1.0, exponent - mantissa), ENDLESS)


def steps_words(element: Element, dtype: str) -> str:
    steps = ulps(element, dtype)
    return "" if steps is None else "∞" if steps >= ENDLESS else number(steps)


def fate(flip: Flip, excuse: Excuse) -> Fate:
    """What the judge made of one flip."""
    if flip.depth:
        return "follows" if excuse.cascaded else "refused"
    return "excused" if excuse.allows(flip) else "refused"


def flip_words(row: Row) -> str:
    """`1 excused, 0 refused, 1 that follows, of 74 tokens; allowed margin 0.02`"""
    excuse, decided = row.excuse, row.drift.decided
    if excuse is None or decided is None:
        return ""
    counts = f"{excuse.excused} excused, {excuse.refused} refused, {excuse.cascaded} that follow"
    return f"{counts}, of {count(decided.tokens)} tokens; allowed margin {number(excuse.bound_x)}"


def is_drawn(row: Row) -> bool:
    """Whether a page, and `show`, draw the map of a row: noise within its budget looks like any other."""
    return failing(row) or bool(row.accepted) or row.excuse is not None


def facts(row: Row) -> list[tuple[str, str]]:
    """What else was measured, by name: over which tokens, how large the golden is, where in the value, own noise."""
    drift, agreeing = row.drift, row.drift.agreeing
    tokens = f"{count(agreeing.tokens)} of {count(agreeing.of)} tokens" if agreeing else ""
    found = (
        ("compared over", f"{tokens}: the others are behind a flip" if tokens else ""),
        ("largest golden", number(drift.scale) if drift.scale else ""),
        ("where", ", ".join(f"{where.words} ({where.share:.0%} of its square)" for where in drift.where)),
        ("own noise", ", ".join(f"{name} {number(value)}" for name, value in sorted(drift.noise.items()))),
    )
    return [(name, text) for name, text in found if text]
