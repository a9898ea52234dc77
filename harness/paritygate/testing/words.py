"""What a parity item says: where it first differs and why, in the harness's words, and the properties of its report."""

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from paritygate.core.drift import Row, Verdict
from paritygate.core.errors import ExitCode
from paritygate.judge.gate import is_excused
from paritygate.judge.locate import first_divergence
from paritygate.report.words import verdict_words

if TYPE_CHECKING:
    from paritygate.testing.session import Checked


def failure(found: "Checked") -> str:
    """First divergence with diagnosis and evidence, counts, and the next command to type."""
    folder, rows = found.folder, found.rows
    if found.code is ExitCode.NOTHING_COMPARED:
        why = "; ".join(sorted({row.reason for row in rows if row.reason})) or "the golden has no value in this mode"
        return "\n".join([f"No value of {found.case} was compared.", f"  got       {why}", f"run     {folder}"])
    lines: list[str] = []
    address = ""
    if own := first_divergence(rows):
        address = own[0].row.drift.address
        lines += [own[0].text, *(f"    {line}" for line in _finding(found, own[0].row))]
    lines += [f"not covered or not expected: {gap.text}" for gap in found.gaps]
    lines += [f"infrastructure: {problem}" for problem in found.problems]
    counts = ", ".join(f"{verdict_words(Verdict(name))} {count}" for name, count in _verdicts(rows).items())
    lines += ["", f"{found.case}: {counts}", f"run     {folder} (written when the session ends)"]
    verb, *row = ("show", address) if address else ("locate",)
    lines += [f"next    {shlex.join(['paritygate', verb, folder, *row])}"]
    return "\n".join(lines)


def _finding(found: "Checked", row: Row) -> list[str]:
    """What `locate` says of the case and cell; where another mode differs first, that is said of it."""
    (whole,) = first_divergence(found.around)
    if whole.row is row:
        return whole.finding
    other = whole.row
    first = f"first in {other.drift.mode}: {other.drift.address}" + (f", {other.evidence}" if other.evidence else "")
    same = other.drift.address == row.drift.address
    return [line for line in (row.evidence, "" if same else first, whole.hint) if line]


def properties(found: "Checked") -> list[tuple[str, object]]:
    rows = found.rows
    worst = max(
        (row for row in rows if row.worst_judgement), key=lambda row: (not _passes(row), _share(row)), default=None
    )
    told: list[tuple[str, object]] = [
        ("parity_verdicts", " ".join(f"{name}={count}" for name, count in _verdicts(rows).items())),
        ("parity_run", found.folder),
    ]
    if worst is not None and (judgement := worst.worst_judgement):
        told.append(("parity_worst_x", judgement.ratio))
        told.append(("parity_worst_limit_x", judgement.limit))
        told.append(("parity_worst_row", f"{found.case}/{worst.drift.address}"))
    if own := first_divergence(rows):
        told.append(("parity_diagnosis", str(own[0].row.diagnosis) or str(own[0].row.verdict)))
        told.append(("parity_first", own[0].row.drift.address))
    return told


def _passes(row: Row) -> bool:
    return row.verdict is Verdict.PASS or is_excused(row)


def _share(row: Row) -> float:
    judgement = row.worst_judgement
    return judgement.share if judgement else 0.0


def _verdicts(rows: list[Row]) -> dict[str, int]:
    found = Counter(row.verdict for row in rows)
    return {str(verdict): found[verdict] for verdict in Verdict if found[verdict]}
