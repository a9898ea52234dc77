"""One row in full: what it is, every metric with its floor and limit, the worst elements, flips, and the map of it."""

from paritygate.core.decision import Decided, Excuse
from paritygate.core.drift import Row
from paritygate.core.histogram import Histogram
from paritygate.report.evidence import facts, fate, flip_words, is_drawn, steps_words
from paritygate.report.map_text import map_lines, map_words
from paritygate.report.parts import Column, Item, KeyValues, Part, Preformatted, Table, Text, Tone
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
        ("flips", Item(flip_words(row), Tone.WARN)),
        *((name, Item(text)) for name, text in facts(row)),
        ("in roundoffs", Item(_roundoffs(drift.histogram) if drift.histogram else "")),
        ("ratio", Item(drift.ratios.words if drift.ratios else "")),
        ("not finite", Item(count(drift.nonfinite) if drift.nonfinite else "", Tone.BAD)),
    ]
    parts: list[Part] = [KeyValues(tuple((key, item) for key, item in pairs if item.text.strip(": ")))]
    if row.judgements or drift.metrics:
        parts.append(metrics_table(row))
    if drift.worst:
        parts.append(worst_table(row))
    if drift.decided is not None and row.excuse is not None:
        parts.append(flips_table(drift.decided, row.excuse))
    if drift.error_map is not None and is_drawn(row):
        parts += [Preformatted("\n".join(map_lines(drift, row.edges))), Text(map_words(drift.error_map, drift.kind))]
    return parts


def _roundoffs(histogram: Histogram) -> str:
    """`50 % within 0.5, 99 % within 4, all within 8`"""
    parts = ((0.5, "50 %"), (0.99, "99 %"), (1.0, "all"))
    return ", ".join(f"{words} within {number(2.0 ** histogram.within(part))}" for part, words in parts)


def flips_table(decided: Decided, excuse: Excuse) -> Table:
    """A line a flip, those with the widest margins first; `depth` is how many decisions it is behind the first one."""
    tones = {"excused": Tone.WARN, "refused": Tone.BAD, "follows": Tone.MUTED}
    lines = [
        (
            Item(f"token {flip.token[1]} of row {flip.token[0]}"),
            Item(", ".join(map(str, flip.golden))),
            Item(", ".join(map(str, flip.got))),
            Item(number(flip.ratio)),
            Item(number(flip.own) if flip.own >= 0.0 else f"{number(flip.own)}: against them"),
            Item(str(flip.depth) if flip.depth else ""),
            Item(fate(flip, excuse), tones[fate(flip, excuse)]),
        )
        for flip in decided.flips
    ]
    titles = ("flips", "golden chose", "got", "margin", "by its own scores", "depth", "")
    columns = tuple(Column(title, "right" if title in ("margin", "depth") else "left") for title in titles)
    return Table(columns, tuple(lines), f"Margins are of {decided.scores}, relative to the two scores.")


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
            Item(steps_words(element, row.drift.dtype)),
        )
        for element in row.drift.worst
    )
    columns = (Column("worst elements"), *(Column(t, "right") for t in ("golden", "got", "difference", "ulp")))
    return Table(columns, lines)
