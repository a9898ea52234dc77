"""One row in full: what it is, every metric with its floor and limit, the worst elements with both values."""

from paritygate.core.drift import Row
from paritygate.core.histogram import Histogram
from paritygate.report.parts import Column, Item, KeyValues, Part, Table, Tone
from paritygate.report.words import MEANINGS, bound, count, exact, metric_words, number, times, verdict_item


def row_parts(row: Row) -> list[Part]:
    drift = row.drift
    pairs = [
        ("verdict", verdict_item(row)),
        ("diagnosis", Item(f"{row.diagnosis}: {MEANINGS[row.diagnosis]}" if row.diagnosis else "")),
        ("origin", Item(row.origin, Tone.CODE)),
        ("evidence", Item(row.evidence)),
        ("problem", Item(drift.problem + (f": {drift.detail}" if drift.detail else ""))),
        ("reason", Item(row.reason)),
        ("accepted", Item(row.accepted)),
        ("value", Item(f"{drift.kind} {drift.dtype} ({drift.layout}) {list(drift.shape)}", Tone.CODE)),
        ("flips", Item(_flips(row), Tone.WARN)),
        ("compared over", Item(_agreeing(row))),
        ("largest golden", Item(number(drift.scale) if drift.scale else "")),
        ("where", Item(", ".join(f"{w.words} ({w.share:.0%} of its square)" for w in drift.where))),
        ("own noise", Item(", ".join(f"{name} {number(value)}" for name, value in sorted(drift.noise.items())))),
        ("in roundoffs", Item(_roundoffs(drift.histogram) if drift.histogram else "")),
        ("not finite", Item(count(drift.nonfinite) if drift.nonfinite else "", Tone.BAD)),
    ]
    parts: list[Part] = [KeyValues(tuple((key, item) for key, item in pairs if item.text.strip(": ")))]
    if row.judgements or drift.metrics:
        parts.append(metrics_table(row))
    if drift.worst:
        parts.append(worst_table(row))
    return parts


def _roundoffs(histogram: Histogram) -> str:
    """`50 % within 0.5, 99 % within 4, all within 8`"""
    parts = ((0.5, "50 %"), (0.99, "99 %"), (1.0, "all"))
    return ", ".join(f"{words} within {number(2.0 ** histogram.within(part))}" for part, words in parts)


def _flips(row: Row) -> str:
    if row.excuse is None or row.drift.decided is None:
        return ""
    excuse = row.excuse
    shown = [
        f"token {flip.token[1]} of row {flip.token[0]} {', '.join(map(str, flip.golden))} → "
        f"{', '.join(map(str, flip.got))}, margin {number(flip.ratio)}"
        + (f", depth {flip.depth}" if flip.depth else "")
        for flip in row.drift.decided.flips
    ]
    counts = f"{excuse.excused} excused, {excuse.refused} refused, {excuse.cascaded} that follow"
    return f"{counts}; allowed margin {number(excuse.bound_x)}: {'; '.join(shown)}"


def _agreeing(row: Row) -> str:
    agreeing = row.drift.agreeing
    return f"{count(agreeing.tokens)} of {count(agreeing.of)} tokens: the others are behind a flip" if agreeing else ""


def metrics_table(row: Row) -> Table:
    """Judged metrics first, then those that are only measured."""
    lines = []
    for j in row.judgements:
        lines.append(
            (
                Item(metric_words(row, j)),
                Item(number(j.value)),
                Item(number(j.floor) if j.floor else "–"),
                Item(times(j.ratio) if max(j.floor, j.minimum) > 0 else "–", Tone.PLAIN if j.ok else Tone.BAD),
                Item(number(bound(j))),
                Item("within" if j.ok else "over", Tone.GOOD if j.ok else Tone.BAD),
                Item(j.rule, Tone.MUTED),
            )
        )
    judged = {j.metric for j in row.judgements}
    none, why = Item("–", Tone.MUTED), Item("not judged", Tone.MUTED)
    for name, value in sorted(row.drift.metrics.items()):
        if name not in judged:
            lines.append((Item(name), Item(number(value)), none, none, none, Item(""), why))
    titles = ("metric", "value", "floor", "ρ", "limit", "", "budget")
    columns = tuple(Column(t, "right" if t in ("value", "floor", "ρ", "limit") else "left") for t in titles)
    return Table(columns, tuple(lines))


def worst_table(row: Row) -> Table:
    lines = tuple(
        (
            Item(str(list(element.index)), Tone.CODE),
            Item(exact(element.golden)),
            Item(exact(element.got)),
            Item(number(element.got - element.golden), Tone.BAD),
        )
        for element in row.drift.worst
    )
    columns = (Column("worst elements"), *(Column(t, "right") for t in ("golden", "got", "difference")))
    return Table(columns, lines)
