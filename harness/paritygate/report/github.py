"""Workflow commands of GitHub Actions: annotations at the candidate's lines, and text that can give no command.

A line that begins with `::` is a command to the runner, whoever wrote it. Names come from runs: they are escaped in
annotations, and text is printed between two marks that nothing printed can know.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from paritygate.report.data import ReportData
from paritygate.report.words import MEANINGS, count, row_words

AT_MOST = 8  # GitHub shows ten of a step; two are left to the other steps' commands
MESSAGE_CHARACTERS = 2_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Spot:
    """A line of the repository, its path relative to the root. An empty one is nowhere in it."""

    file: str = ""
    line: int = 0


# Where the candidate computes what a site stands for, and where a line of it, `moe.py:88` in `module:function`, is.
SiteSpot = Callable[[str, str], Spot]
LineSpot = Callable[[str, str], Spot]


@dataclass(frozen=True)
class Annotation:
    """One error that GitHub shows beside a line."""

    title: str
    message: str
    spot: Spot = Spot()

    @property
    def command(self) -> str:
        """`::error file=impl/moe.py,line=88,title=…::…`"""
        given = {"file": self.spot.file, "line": str(self.spot.line or ""), "title": self.title}
        properties = ",".join(f"{name}={_property(value)}" for name, value in given.items() if value)
        return f"::error {properties}::{_data(self.message[:MESSAGE_CHARACTERS])}"


def annotations(data: ReportData, site: SiteSpot, line: LineSpot) -> list[Annotation]:
    """What needs a person, most urgent first; where there is more than fits, the last one says how much."""
    found = list(_found(data, site, line))
    if len(found) <= AT_MOST:
        return found
    more = f"{count(len(found) - AT_MOST + 1)} more things are not right: the summary and the report have them."
    return [*found[: AT_MOST - 1], Annotation("paritygate: and more", more)]


def _found(data: ReportData, site: SiteSpot, line: LineSpot) -> Iterator[Annotation]:
    cells = Counter(row.drift.address for row in data.first_divergences)
    blames = {blame.address: blame for blame in reversed(data.blames) if not blame.reason}
    explained = {each.address: each for each in reversed(data.counterfactuals) if each.explanations}
    seen: set[str] = set()
    for row in data.first_divergences:
        drift = row.drift
        if drift.address in seen:
            continue
        seen.add(drift.address)
        spot, said = site(drift.case, drift.site), [f"{row_words(row)}."]
        said += [f"{row.diagnosis.capitalize()}: {MEANINGS[row.diagnosis]}."] if row.diagnosis else []
        said += [f"{row.evidence}."] if row.evidence else []
        if blame := blames.get(drift.address):
            if (blamed := blame.parting or next(iter(blame.lines), None)) and line(blamed.line, "").file:
                spot = line(blamed.line, "")
            said.append(f"{blame.text}.")
        if drift.address in explained:
            said.append(f"{explained[drift.address].text}.")
        place = f"{drift.case}, {drift.cell}, {drift.mode}"
        alike = cells[drift.address] - 1
        said.append(f"In {place}" + (f", and first in {count(alike)} more." if alike else "."))
        yield Annotation(f"paritygate: {drift.address} {row.verdict.value.replace('_', ' ')}", "\n".join(said), spot)
    for gap in data.coverage.gaps:
        yield Annotation(f"paritygate: not covered: {gap.part} {gap.place}", gap.text)
    for finding in data.lint.new:
        yield Annotation(f"paritygate: precision: {finding.kind}", finding.text, line(finding.line, finding.where))
    for change in data.program_changes.failing:
        yield Annotation("paritygate: compiled program changed", change.text)
    for problem in data.info.problems:
        yield Annotation("paritygate: infrastructure", problem)


def without_commands(text: str, token: str) -> str:
    """Text between the commands that stop commands and let them go on again; `token` is one that nobody can guess."""
    return f"::stop-commands::{token}\n{text}\n::{token}::"


def output(name: str, value: str, token: str) -> str:
    """One output of a step, as `$GITHUB_OUTPUT` takes it, whatever lines the value has."""
    return f"{name}<<{token}\n{value}\n{token}\n"


def _data(text: str) -> str:
    text = _CONTROL.sub("?", text)
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
