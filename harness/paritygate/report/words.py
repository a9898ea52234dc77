"""How numbers, verdicts and drifts are written: the same words in HTML and in the terminal."""

import math

from paritygate.core.drift import Diagnosis, Judgement, Row, Verdict
from paritygate.report.parts import Item, Tone

ENDLESS = 1e300  # the judge writes the largest float where a ratio has no end

MARKS = {
    Verdict.OVER_BUDGET: "O",
    Verdict.REGRESSED: "R",
    Verdict.NONFINITE: "N",
    Verdict.MISMATCH: "X",
    Verdict.MISSING: "M",
    Verdict.ERROR: "E",
    Verdict.SKIPPED: "S",
}

ACCEPTED = "A"  # over budget, and accepted in the baseline

MEANINGS = {
    Diagnosis.SEMANTIC: "the float64 cell differs too, so the candidate computes something else",
    Diagnosis.PRECISION: "only low-precision cells differ, so look for a cast or an accumulation dtype",
    Diagnosis.SHARDING: "only meshes differ, so look for a layout or a collective",
    Diagnosis.PLATFORM: "only this platform differs",
    Diagnosis.DECISION: "a choice flipped where the golden's margin does not excuse it",
    Diagnosis.PROPAGATED: "a value upstream of it, or inside it, is to blame",
}


def verdict_words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")


def verdict_tone(verdict: Verdict) -> Tone:
    return {Verdict.PASS: Tone.GOOD, Verdict.SKIPPED: Tone.WARN}.get(verdict, Tone.BAD)


def verdict_item(row: Row) -> Item:
    if row.accepted:
        return Item("accepted", Tone.WARN)
    return Item(verdict_words(row.verdict), verdict_tone(row.verdict))


def number(value: float) -> str:
    """Three significant digits: 0 · 0.00123 · 12.3 · 1.23e-07."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


def exact(value: float) -> str:
    """Enough digits to find the element again."""
    return f"{value:.9g}"


def times(ratio: float) -> str:
    """A factor: 0.05× · 1.3× · 1.35× · 25.1× · 250× · 1.2e7×."""
    if ratio >= ENDLESS:
        return "∞×"
    if ratio >= 1e4 or 0 < ratio < 0.01:
        mantissa, exponent = f"{ratio:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}×"
    if ratio >= 10:
        return f"{ratio:.0f}×" if ratio >= 100 else f"{ratio:.1f}×"
    # Limits are fitted to hundredths: a digit less would show a row over its limit as one at it.
    digits = f"{ratio:.2f}"
    return f"{digits.removesuffix('0')}×"


def count(value: int) -> str:
    return f"{value:,}"


def seconds(value_s: float) -> str:
    return f"{value_s:.1f} s" if value_s < 100 else f"{int(value_s) // 60} min {int(value_s) % 60} s"


def memory(value_bytes: float) -> str:
    return f"{value_bytes / 2**30:.2f} GiB" if value_bytes >= 2**30 else f"{value_bytes / 2**20:.0f} MiB"


def noise(judgement: Judgement) -> float:
    """What the value is divided by; 0 under a fixed limit."""
    return math.hypot(max(judgement.floor, judgement.minimum), judgement.noise)


def bound(judgement: Judgement) -> float:
    """The largest value that passes."""
    return judgement.limit * (noise(judgement) or 1.0)


def nearness(judgement: Judgement) -> float:
    """How near to its limit: 1 is at it. Infinite where the limit is 0 and the value is not."""
    if judgement.ratio >= ENDLESS or (not judgement.limit and not judgement.ok):
        return math.inf
    return judgement.share


def metric_words(row: Row, judgement: Judgement) -> str:
    """The judged quantity: `rel_l2`, or `1 − cosine` where more is better and the distance from 1 is judged."""
    measured = row.drift.metrics.get(judgement.metric, judgement.value)
    return judgement.metric if measured == judgement.value else f"1 − {judgement.metric}"


def drift_words(row: Row, judgement: Judgement) -> str:
    """`rel_l2 1.3× the noise (limit 2.1×)`, or the plain value where the limit is fixed."""
    name = metric_words(row, judgement)
    if noise(judgement) > 0:
        against = "the noise" if judgement.floor >= judgement.minimum else "the rounding floor"
        return f"{name} {times(judgement.ratio)} {against} (limit {times(judgement.limit)})"
    return f"{name} {number(judgement.value)} (limit {number(judgement.limit)})"


def row_words(row: Row) -> str:
    """What is wrong with a row, or how near to its limit it is, in one line."""
    drift, judgement = row.drift, row.worst_judgement
    if row.verdict is Verdict.NONFINITE:
        return f"{count(drift.nonfinite)} values are not finite where the golden's are" + _detail(drift.detail)
    if row.verdict in (Verdict.MISMATCH, Verdict.ERROR, Verdict.MISSING, Verdict.SKIPPED):
        without_words = {Verdict.MISSING: "the candidate shows no such value"}
        return row.reason or drift.detail or without_words.get(row.verdict, verdict_words(row.verdict))
    if judgement is None:
        return row.reason or "nothing was judged"
    words = drift_words(row, judgement)
    return f"{words}; {row.reason}" if row.reason and row.verdict is Verdict.REGRESSED else words


def _detail(detail: str) -> str:
    return f": {detail}" if detail else ""
