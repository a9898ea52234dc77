"""The answer first: pass or not, counts, cost of the run, a line a cell, and the rows that need a reader most."""

from collections import Counter

from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.report.data import Outcome, ReportData, failing, root, row_nearness, within_budget, worst
from paritygate.report.parts import (
    PROSE,
    Banner,
    Column,
    Facet,
    Figures,
    Heading,
    Item,
    KeyValues,
    Part,
    Section,
    Strip,
    Table,
    Text,
    Tone,
)
from paritygate.report.words import (
    MEANINGS,
    count,
    memory,
    row_words,
    seconds,
    times,
    verdict_item,
    verdict_tone,
    verdict_words,
)

WORST_ROWS = 12
NEAREST_ROWS = 5
GAPS = 3


def build(data: ReportData) -> list[Part]:
    info = data.info
    parts: list[Part] = [
        _banner(data),
        *([] if data.compilations else [_gates(data)]),
        Figures(
            (
                (f"{data.compared} compared", count(sum(bool(row.drift.metrics) for row in data.rows))),
                ("not a pass", count(len(data.failures))),
                *([("accepted in the baseline", count(len(data.accepted)))] if data.accepted else []),
                ("gaps in coverage", count(len(data.coverage.gaps))),
                *([("flips excused", count(data.flips_excused))] if data.flips_excused else []),
                ("cases", count(len(data.cases))),
                ("cells", count(len({cell for cell, _ in data.places}))),
                ("wall time", seconds(info.wall_s)),
                ("peak memory", memory(info.peak_memory_bytes)),
                ("compilations", count(info.compilations)),
            )
        ),
    ]
    if data.rows:
        parts.append(_strip(data))
    if info.fault:
        parts.append(Text(f"Planted in the candidate, to see what is said of it: {info.fault}.", Tone.WARN))
    parts += [Text(f"Infrastructure: {problem}", Tone.WARN) for problem in info.problems]
    parts += _repeats(data)
    if data.rows:
        parts += [Heading("Cells"), _cells(data)]
    if within_budget(data.rows):
        parts += [Heading(_worst_title(data)), _worst(data)]
    return parts


def _gates(data: ReportData) -> KeyValues:
    """The absolute budget and the ratchet against what was accepted, apart: one may fail without the other."""
    found = data.gates
    pairs = (("budget", found.budget), ("ratchet", found.ratchet))
    return KeyValues(tuple((name, Item(gate.words, Tone.GOOD if gate.ok else Tone.BAD)) for name, gate in pairs))


def _strip(data: ReportData) -> Strip:
    """Verdicts in the order of the enum, the accepted after those that pass, and diagnoses, those that there are."""
    counts = Counter(map(verdict_item, data.rows))
    order = [*map(verdict_words, Verdict)]
    order.insert(1, "accepted")
    items = sorted(counts, key=lambda item: order.index(item.text))
    facets = [Facet("verdict", item.text, counts[item], item.tone) for item in items]
    diagnoses = Counter(row.diagnosis for row in data.rows if row.diagnosis)
    for diagnosis in Diagnosis:
        if diagnoses[diagnosis]:
            tone = Tone.MUTED if diagnosis is Diagnosis.PROPAGATED else Tone.BAD
            facets.append(Facet("diagnosis", diagnosis.value, diagnoses[diagnosis], tone))
    return Strip(tuple(facets))


def _repeats(data: ReportData) -> list[Part]:
    """Whether the candidate gives the same bits each time: one line, or one for each cell where it does not."""
    repeats = data.info.repeats
    if data.info.reproducible:
        words = f"the {count(sum(r.values for r in repeats))} values that were computed again are the same bits"
        return [Text(f"Reproducible: {words}.", Tone.MUTED)]
    found: list[Part] = []
    for repeat in repeats:
        if repeat.differing:
            some = f"{count(len(repeat.differing))} of {count(repeat.values)} values of {repeat.case}"
            words = f"{some} have other bits when they are computed again, the first is {repeat.differing[0]}"
            noise = "Its own noise is in the floor, up to the floor's size"
            found.append(Text(f"Not reproducible in {repeat.cell}: {words}. {noise}.", Tone.WARN))
    return found


def _worst_title(data: ReportData) -> str:
    return "Worst rows" if data.failures else "Nearest to their limits"


def _banner(data: ReportData) -> Banner:
    total = f"{count(len(data.rows))} {data.compared} of {count(len(data.cases))} case{'s' * (len(data.cases) != 1)}"
    if data.outcome is Outcome.NOTHING:
        sentence = "No value was compared, which is a failure and not a pass."
        return Banner("NOTHING", sentence, Tone.BAD, _skips(data))
    if data.outcome is Outcome.INCOMPLETE:
        sentence = f"Not everything ran: {count(data.verdicts[Verdict.PASS])} of {total} pass, the rest is unknown."
        return Banner("INCOMPLETE", sentence, Tone.WARN)
    if data.outcome is Outcome.PASS:
        return _pass(data, total)
    gaps = (*_gaps(data), *_findings(data), *_changes(data))
    if not data.failures and data.coverage.gaps:
        return Banner("FAIL", f"Not everything is covered, though all {total} are within budget.", Tone.BAD, gaps)
    if not data.failures and not data.lint.new:
        sentence = f"Compiled programs are not those that were recorded, though all {total} are within budget."
        return Banner("FAIL", sentence, Tone.BAD, gaps)
    if not data.failures:
        sentence = f"The precision lint found what nobody expected, though all {total} are within budget."
        return Banner("FAIL", sentence, Tone.BAD, gaps)
    sentence = f"{count(len(data.failures))} of {total} are not a pass."
    return Banner("FAIL", sentence, Tone.BAD, (*_look_first(data), *gaps))


def _gaps(data: ReportData) -> tuple[str, ...]:
    gaps = data.coverage.gaps
    lines = [f"Not covered: {gap.part} {gap.place}, {gap.verdict}: {gap.why}." for gap in gaps[:GAPS]]
    more = len(gaps) - len(lines)
    return (*lines, f"And {count(more)} more, see Coverage.") if more else tuple(lines)


def _changes(data: ReportData) -> tuple[str, ...]:
    failing = data.program_changes.failing
    lines = tuple(f"Changed: {change.text}." for change in failing[:GAPS])
    more = len(failing) - len(lines)
    return (*lines, f"And {count(more)} more, see Programs.") if more else lines


def _skips(data: ReportData) -> tuple[str, ...]:
    """Why cells were not replayed, a line a reason."""
    cells: dict[tuple[str, str], list[str]] = {}
    for skip in data.info.skipped:
        cells.setdefault((skip.case, skip.reason), []).append(skip.cell)
    lines = [
        f"Skipped{f' of {case}' * bool(case)} in {', '.join(names)}: {reason}."
        for (case, reason), names in cells.items()
    ]
    more = len(lines) - GAPS
    return (*lines[:GAPS], f"And for {count(more)} more reasons, see Provenance.") if more > 0 else tuple(lines)


def _findings(data: ReportData) -> tuple[str, ...]:
    new = data.lint.new
    lines = [f"Not expected: {finding.text}." for finding in new[:GAPS]]
    more = len(new) - len(lines)
    return (*lines, f"And {count(more)} more, see Precision.") if more else tuple(lines)


def _pass(data: ReportData, total: str) -> Banner:
    within = within_budget(row for row in data.rows if row.verdict is Verdict.PASS)
    sentence, skipped = f"All {total} are within budget.", data.verdicts[Verdict.SKIPPED]
    if data.accepted:
        over = f"{count(len(data.accepted))} over budget and accepted in the baseline"
        sentence = f"Of {total} {count(len(within))} are within budget, {over}."
    elif skipped:
        sentence = f"{count(len(within))} of {total} are within budget."
    sentence += f" {count(skipped)} were skipped." if skipped else ""
    lines = [f"Nearest to its limit: {_place(near)}: {row_words(near)}." for near in worst(within, 1)]
    return Banner("PASS", sentence, Tone.GOOD, (*lines, *_skips(data), *data.not_covered))


def _place(row: Row) -> str:
    return f"{row.drift.address} in {row.drift.cell}, {row.drift.mode}"


def _look_first(data: ReportData) -> list[str]:
    """The addresses to blame, those that come first in most cells (each case counts) first."""
    blamed = Counter((row.drift.address, row.diagnosis) for row in data.first_divergences)
    lines, total = [], len(data.first_divergences)
    for (address, diagnosis), pairs in blamed.most_common(3):
        why = f" {diagnosis.capitalize()}: {MEANINGS[diagnosis]}." if diagnosis is not Diagnosis.NONE else ""
        start = "Look first at" if not lines else "Then at"
        lines.append(f"{start} {address}: the first divergence in {pairs} of {total} failing cells.{why}")
    return lines


def _cells(data: ReportData) -> Table:
    shown = [v for v in Verdict if v is Verdict.PASS or data.verdicts[v]]
    columns = [Column("cell"), Column("mode"), *(Column(verdict_words(v), "right") for v in shown)]
    if data.accepted:
        columns.insert(3, Column("accepted", "right"))
    rows = []
    for cell, mode in data.places:
        here = [row for row in data.rows if (row.drift.cell, row.drift.mode) == (cell, mode)]
        within = within_budget(here)
        counts, accepted = Counter(row.verdict for row in within), len(here) - len(within)
        line = [Item(cell, Tone.CODE), Item(mode)]
        line += [Item(count(counts[v]), verdict_tone(v) if counts[v] else Tone.MUTED) for v in shown]
        if data.accepted:
            line.insert(3, Item(count(accepted), Tone.WARN if accepted else Tone.MUTED))
        for near in worst(within, 1):
            line += [Item(_of_limit(near), Tone.BAD if failing(near) else Tone.PLAIN), data.link(near)]
        rows.append(tuple(line if within else [*line, Item("–", Tone.MUTED), Item("")]))
    return Table((*columns, Column("of limit", "right"), Column("at")), tuple(rows))


def _of_limit(row: Row) -> str:
    near = row_nearness(row)
    if near == float("inf"):
        return verdict_words(row.verdict)
    return f"{near * 100:.0f} %" if near < 10 else times(near)


def _worst(data: ReportData) -> Table:
    """The worst rows, one line an address: the same value in other cases and cells is counted, not listed.

    Rows that only follow from others are left to the heat map, as long as there is one to blame.
    """
    firsts: dict[tuple[str, str], list[Row]] = {}
    for row in worst(within_budget(data.rows), len(data.rows)):
        firsts.setdefault((row.drift.address, row.verdict), []).append(row)
    rows = []
    by_itself = [same for same in firsts.values() if root(same[0])]
    shown = (by_itself or list(firsts.values()))[: WORST_ROWS if data.failures else NEAREST_ROWS]
    for same in shown:
        row = same[0]
        like = sum(failing(other) for other in same) - 1 if failing(row) else 0
        rows.append(
            (
                verdict_item(row),
                data.link(row),
                Item(row_words(row)),
                Item(row.diagnosis.value, Tone.BAD if root(row) else Tone.MUTED),
                Item(row.drift.case),
                Item(f"{data.cell_labels[row.drift.cell]} {row.drift.mode}"),
                Item(f"+{count(like)}" if like > 0 else "", Tone.MUTED),
            )
        )
    titles = ("verdict", "value", "drift", "diagnosis", "case", "cell", "like it")
    follow = sum(not root(row) for row in data.failures)
    caption = f"{count(follow)} more rows fail downstream of these." if follow and by_itself else ""
    columns = tuple(Column(t, "right" if t == titles[-1] else "left", PROSE if t == "drift" else 0) for t in titles)
    return Table(columns, tuple(rows), caption)


SECTION = Section("verdict", 10, "Verdict", build)
