"""What the run covers: gaps, which fail it; glue, and where the chain shows it; config branches that nobody took."""

from paritygate.core.coverage import WHOLE, CoveredGlue, Gap, PartKind, Unexercised
from paritygate.report.data import ReportData
from paritygate.report.parts import PROSE, Column, Heading, Item, Part, Section, Table, Text, Tone
from paritygate.report.words import count, verdict_words

_NAMES = {PartKind.GLUE: "glue step"}


def build(data: ReportData) -> list[Part]:
    coverage = data.coverage
    if not coverage.parts and not coverage.gaps:
        return []
    known = [(_NAMES.get(part, part.value), coverage.parts[part]) for part in PartKind if part in coverage.parts]
    among = ", ".join(_counted(number, name) for name, number in known)
    parts: list[Part] = []
    if coverage.gaps:
        parts += [Text(f"{_counted(len(coverage.gaps), 'gap')} among {among}.", Tone.BAD), _gaps(coverage.gaps)]
    else:
        note = "Each part of the reference is one site's or glue step's, each weight a parameter's of equal values."
        parts.append(Text(f"No gap among {among}. {note}", Tone.MUTED))
    if coverage.glue:
        parts += [Heading("Glue, which only the chained replay covers"), _glue(coverage.glue)]
    if coverage.unexercised:
        parts += [Heading("Config branches that no preset of this run takes"), _branches(coverage.unexercised)]
    return parts


def _counted(number: int, name: str) -> str:
    return f"{count(number)} {name}" + ("" if number == 1 else "s")


def _gaps(gaps: tuple[Gap, ...]) -> Table:
    lines = (
        (
            Item(verdict_words(gap.verdict), Tone.BAD),
            Item(gap.part.value),
            Item(gap.place, Tone.CODE),
            Item(gap.why),
            Item(", ".join(gap.cases)),
        )
        for gap in gaps
    )
    columns = (Column("verdict"), Column("part"), Column("where"), Column("why", least=PROSE), Column("cases"))
    return Table(columns, tuple(lines))


def _glue(steps: tuple[CoveredGlue, ...]) -> Table:
    lines = (
        (
            Item(step.name),
            Item(step.module or WHOLE, Tone.CODE),
            Item(", ".join(step.ports), Tone.CODE) if step.ports else Item("nothing, not replayed chained", Tone.WARN),
            Item(step.doc),
        )
        for step in steps
    )
    return Table(
        (Column("glue"), Column("module"), Column("seen in"), Column("what it does", least=PROSE)), tuple(lines)
    )


def _branches(branches: tuple[Unexercised, ...]) -> Table:
    lines = ((Item(branch.key, Tone.CODE), Item(str(branch.value), Tone.CODE), Item(branch.doc)) for branch in branches)
    return Table((Column("key"), Column("value"), Column("what it chooses", least=PROSE)), tuple(lines))


SECTION = Section("coverage", 45, "Coverage", build)
