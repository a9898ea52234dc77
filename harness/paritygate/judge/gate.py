"""The exit code and the counts of a run. Reads rows, writes nothing, imports no NumPy."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from paritygate.core.coverage import Gap
from paritygate.core.drift import Row, Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.lint import Noted
from paritygate.core.program import Change
from paritygate.judge.diagnose import diverged


@dataclass(frozen=True)
class Summary:
    """Counts of a run's rows. `verdicts` and `diagnoses` hold only what occurs; `accepted` are passes by baseline;
    `flips_excused` choices that are not the golden's and pass."""

    rows: int
    passed: int
    failed: int
    skipped: int
    accepted: int
    flips_excused: int
    verdicts: dict[str, int]
    diagnoses: dict[str, int]
    cells: dict[str, dict[str, int]]
    modes: dict[str, dict[str, int]]
    cases: dict[str, dict[str, int]]


def exit_code(rows: Iterable[Row], problems: Iterable[str], gaps: Iterable[Gap | Noted | Change] = ()) -> ExitCode:
    """What a run ends with. `problems` are those of the infrastructure, `gaps` those of the coverage,
    findings of the precision lint that nobody expected, and changes of compiled programs.

    The first that holds:
    1. a value was compared and differs (over_budget, regressed, nonfinite, mismatch) → DRIFT. It stays true whatever
       else went wrong.
    2. the infrastructure had a problem → INFRASTRUCTURE, also where every row that was written passes: the rest of the
       run is unknown, and a missing row says nothing about the candidate.
    3. every row is missing or skipped, or there is none → NOTHING_COMPARED.
    4. a row is missing, an error, or skipped without a reason, or there is a gap → DRIFT.
    5. at least one row passes and the others are skipped with a reason → PASS.
    """
    rows = list(rows)
    if any(diverged(row) for row in rows):
        return ExitCode.DRIFT
    if list(problems):
        return ExitCode.INFRASTRUCTURE
    if all(row.verdict in (Verdict.MISSING, Verdict.SKIPPED) for row in rows):
        return ExitCode.NOTHING_COMPARED
    if all(row.verdict is Verdict.PASS or is_excused(row) for row in rows) and not list(gaps):
        return ExitCode.PASS
    return ExitCode.DRIFT


def summary(rows: Iterable[Row]) -> Summary:
    """Counts by verdict, diagnosis, cell, mode and case."""
    rows = list(rows)
    by: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in ("cell", "mode", "case")}
    for row in rows:
        for name, groups in by.items():
            groups[getattr(row.drift, name)][str(row.verdict)] += 1
    passed = sum(row.verdict is Verdict.PASS for row in rows)
    skipped = sum(is_excused(row) for row in rows)
    return Summary(
        rows=len(rows),
        passed=passed,
        failed=len(rows) - passed - skipped,
        skipped=skipped,
        accepted=sum(bool(row.accepted) for row in rows),
        flips_excused=sum(row.excuse.excused + row.excuse.cascaded for row in rows if row.excuse),
        verdicts=dict(Counter(str(row.verdict) for row in rows)),
        diagnoses=dict(Counter(str(row.diagnosis) for row in rows if row.diagnosis)),
        cells={name: dict(counts) for name, counts in by["cell"].items()},
        modes={name: dict(counts) for name, counts in by["mode"].items()},
        cases={name: dict(counts) for name, counts in by["case"].items()},
    )


def is_excused(row: Row) -> bool:
    """Whether the row could not be compared, and says why."""
    return row.verdict is Verdict.SKIPPED and bool(row.reason.strip())
