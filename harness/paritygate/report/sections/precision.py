"""What the precision lint found in the candidate's programs: what nobody expected first, then what is as it must be."""

from paritygate.core.lint import RULES, Noted
from paritygate.report.data import ReportData
from paritygate.report.parts import PROSE, Column, Heading, Item, Part, Section, Table, Text, Tone
from paritygate.report.words import count


def build(data: ReportData) -> list[Part]:
    lint = data.lint
    parts: list[Part] = []
    if lint.new:
        parts += [Text(f"{_findings(len(lint.new))} that nobody expected.", Tone.BAD), _table(lint.new, Tone.BAD)]
    if lint.listed:
        note = "The family says nothing of what to expect, so that none of these fails the run."
        parts += [Text(f"{_findings(len(lint.listed))}. {note}", Tone.WARN), _table(lint.listed, Tone.WARN)]
    if lint.expected:
        parts += [Heading(f"As they must be: {_findings(len(lint.expected))}"), _table(lint.expected, Tone.MUTED)]
    if parts and lint.idle:
        parts += [Heading("Expected, and not found"), *(Text(each, Tone.MUTED) for each in lint.idle)]
    return parts


def _findings(number: int) -> str:
    return f"{count(number)} finding{'' if number == 1 else 's'}"


def _function(where: str) -> str:
    """Without its package; of a round trip that which rounds, for the line of the other is in what was found."""
    return where.partition(" -> ")[0].partition(".")[2] or where


def _table(findings: tuple[Noted, ...], tone: Tone) -> Table:
    lines = (
        (
            Item(finding.kind, tone),
            Item(finding.line, Tone.CODE),
            Item(_function(finding.where), Tone.CODE),
            Item(finding.what),
            Item(", ".join(finding.cells)),
            Item(finding.reason or RULES[finding.rule]),
        )
        for finding in findings
    )
    columns = (
        Column("rule"),
        Column("line"),
        Column("function"),
        Column("found"),
        Column("cells"),
        Column("reason", least=PROSE),
    )
    return Table(columns, tuple(lines))


SECTION = Section("precision", 47, "Precision", build)
