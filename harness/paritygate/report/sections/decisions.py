"""Decisions: choices that flipped, with their margins, and the values that were compared over fewer tokens for it."""

from paritygate.core.drift import Row
from paritygate.report.data import ReportData
from paritygate.report.parts import Column, Item, Part, Section, Table, Text, Tone
from paritygate.report.words import count, number, verdict_item

SHOWN = 60


def build(data: ReportData) -> list[Part]:
    parts: list[Part] = []
    if data.info.routing == "golden":
        parts.append(Text("Every choice was forced to the golden's: choices themselves were not compared.", Tone.WARN))
    if flipped := [row for row in data.rows if row.excuse is not None and row.drift.decided is not None]:
        parts.append(_choices(data, flipped))
    if fewer := [row.drift.agreeing for row in data.rows if row.drift.agreeing is not None]:
        least = min(fewer, key=lambda agreeing: agreeing.tokens / agreeing.of)
        parts.append(
            Text(
                f"{count(len(fewer))} values behind a flip were compared, floors too, over the tokens that none can "
                f"have reached: at least {count(least.tokens)} of {count(least.of)}."
            )
        )
    return parts


def _choices(data: ReportData, rows: list[Row]) -> Table:
    """All; where there are too many for a page, those with the most refused flips."""
    titles = (
        "value",
        "case",
        "cell",
        "tokens",
        "excused",
        "refused",
        "cascade",
        "depth",
        "widest margin",
        "allowed",
        "",
    )
    numbers = titles[3:10]
    more = len(rows) - SHOWN
    shown = sorted(rows, key=_refused, reverse=True)[:SHOWN] if more > 0 else rows
    return Table(
        tuple(Column(title, "right" if title in numbers else "left") for title in titles),
        tuple(_line(data, row) for row in shown),
        "Margins are the golden's, relative to the two scores. A flip of cascade follows from an earlier one."
        + (f" And {count(more)} more: those with the most refused flips are shown." if more > 0 else ""),
    )


def _refused(row: Row) -> int:
    return row.excuse.refused if row.excuse else 0


def _line(data: ReportData, row: Row) -> tuple[Item, ...]:
    drift, decided, excuse = row.drift, row.drift.decided, row.excuse
    assert decided is not None and excuse is not None, "only rows with flips are shown"
    by_itself = [flip.ratio for flip in decided.flips if not flip.depth]
    depth = max((flip.depth for flip in decided.flips), default=0)
    return (
        data.link(row),
        Item(drift.case),
        Item(f"{data.cell_labels[drift.cell]} {drift.mode}"),
        Item(count(decided.tokens)),
        Item(count(excuse.excused), Tone.WARN if excuse.excused else Tone.MUTED),
        Item(count(excuse.refused), Tone.BAD if excuse.refused else Tone.MUTED),
        Item(count(excuse.cascaded), Tone.WARN if excuse.cascaded else Tone.MUTED),
        Item(count(depth) if depth else ""),
        Item(number(max(by_itself)) if by_itself else "–"),
        Item(number(excuse.bound_x)),
        verdict_item(row),
    )


SECTION = Section("decisions", 25, "Decisions", build)
