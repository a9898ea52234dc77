"""The gate of a run by the baseline of its project, and accepting its drifts. Reads run folders and baselines.

Writes baselines and their audit, by `store/baseline.py` only, one approval of a project at a time.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from paritygate.core.budget import Accepted, Approval, Proposal
from paritygate.core.comparison import Comparison, RowChange
from paritygate.core.drift import Row
from paritygate.core.gates import gates
from paritygate.core.run import Run
from paritygate.judge.compare import with_accepted, with_run
from paritygate.judge.gate import exit_code, summary
from paritygate.judge.rebase import Key, rebase
from paritygate.service import audit, local, queries, tables
from paritygate.service.database import writing
from paritygate.service.events import tell
from paritygate.service.folders import Folders
from paritygate.service.problems import NotFound
from paritygate.service.reading import WORDS, light_rows
from paritygate.service.tokens import Caller
from paritygate.store import baseline

if TYPE_CHECKING:
    from paritygate.service.app import Service

Semantic = Literal["refused", "accepted"]
BASELINE, OF_BRANCH = "baseline", "branch:"
SHOWN = 50


@dataclass(frozen=True)
class GateSaid:
    """One of the two gates."""

    ok: bool
    words: str


@dataclass(frozen=True)
class FailingRow:
    """A row that is no pass, by the baseline of the project."""

    row: str
    verdict: str
    diagnosis: str
    reason: str


@dataclass(frozen=True)
class ChangedRow:
    """What became of a row since what the run is compared with. `text` says it in a line, with its numbers."""

    status: str
    row: str
    case: str
    cell: str
    mode: str
    address: str
    verdicts: str
    text: str
    numbers: str


@dataclass(frozen=True)
class GateAnswer:
    """What the gate says of a run: `exit_code` is that of `paritygate gate`, by the baseline of the project.

    `counts` are rows by verdict, `failing` the first that are no pass, `gaps` what else fails it, one line each;
    `statuses` are rows by what became of them since `against`, `changes` the first that changed. `page` is where a
    browser finds the run, from the root of the service on.
    """

    project: str
    run: str
    exit_code: int
    verdict: str
    budget: GateSaid
    ratchet: GateSaid
    counts: dict[str, int]
    failing: tuple[FailingRow, ...]
    problems: tuple[str, ...]
    gaps: tuple[str, ...]
    against: str
    statuses: dict[str, int]
    changes: tuple[ChangedRow, ...]
    page: str


@dataclass(frozen=True)
class ApprovalAnswer:
    """What is, or would be, written into the baseline; `approval` is None where nothing was."""

    run: str
    proposals: tuple[Proposal, ...]
    approval: Approval | None


class Recent:
    """The last answers of the gate by what they were made of: a page asks again with each view, and reads all rows."""

    def __init__(self, most: int = 128):
        self._most, self._lock, self._made = most, Lock(), OrderedDict[tuple[str, ...], GateAnswer]()

    def answer(self, of: tuple[str, ...], make: Callable[[], GateAnswer]) -> GateAnswer:
        with self._lock:
            if (found := self._made.get(of)) is not None:
                self._made.move_to_end(of)
                return found
        found = make()  # by nobody's leave: two that ask at once both make it
        with self._lock:
            self._made[of] = found
            if len(self._made) > self._most:
                self._made.popitem(last=False)
        return found


def gate(service: "Service", project: str, run: str, against: str = BASELINE) -> GateAnswer:
    """Raises NotFound, and UsageError where the run is not judged, as the gate on a machine does.

    `against` is what it is compared with, which has no say in the exit code: what was accepted, the last other run of
    a branch, or a run by its name.
    """
    known = queries.run(service, project, run)
    if against != BASELINE or not known.content:  # which a run that cannot be read may lack
        return _gate(service, project, known.name, against)
    of = (project, known.name, known.content, _hash(Folders(service.config).baselines(project)))
    return service.gates.answer(of, lambda: _gate(service, project, known.name, against))


def _hash(baselines: Path) -> str:
    """Of what is accepted, by content: read whole, which is little beside the rows of a run."""
    files = sorted(baselines.glob("*.jsonl"))
    return hashlib.sha256(b"\0".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)).hexdigest()


def _gate(service: "Service", project: str, run: str, against: str) -> GateAnswer:
    found, accepted = _opened(service, project, run), _accepted(service, project)
    rows = _rows(found, accepted)
    comparison = _compared(service, project, found, rows, against, accepted)
    problems = found.info.problems
    gaps = [*found.coverage().gaps, *found.lint().new, *found.program_changes().failing]
    code = exit_code(rows, problems, gaps)
    both = gates(rows)
    failing = [row for row in rows if not _passes(row)]
    return GateAnswer(
        project,
        found.folder.name,
        int(code),
        WORDS[code],
        GateSaid(both.budget.ok, both.budget.words),
        GateSaid(both.ratchet.ok, both.ratchet.words),
        summary(rows).verdicts,
        tuple(FailingRow(_name(row), str(row.verdict), str(row.diagnosis), row.reason) for row in failing[:SHOWN]),
        problems,
        tuple(each.text for each in gaps[:SHOWN]),
        comparison.against,
        comparison.counts,
        tuple(map(_changed, comparison.changed[:SHOWN])),
        f"/projects/{quote(project)}/runs/{quote(found.folder.name)}",
    )


def approve(
    service: "Service",
    caller: Caller,
    project: str,
    run: str,
    select: str,
    reason: str,
    semantic: Semantic = "refused",
    dry_run: Literal["write", "dry run"] = "write",
) -> ApprovalAnswer:
    """Accepts the drifts of the rows that `select` matches, in the caller's name.

    Refused as `paritygate approve` refuses: a planted fault, rows that compute something else unless that is said,
    rows without a number, an empty reason. The rows are as the project's own baseline leaves them.
    """
    local.refuse(project, f"approve {run} --select '{select}' --reason '{reason}'")
    folders = Folders(service.config)
    found = _opened(service, project, run)
    baseline.refuse_planted(found.info)
    now = datetime.now(UTC)
    with folders.locked(project):
        rows = _rows(found, _accepted(service, project))
        if semantic == "refused":
            baseline.refuse_semantic(rows, select)
        folder = folders.baselines(project)
        proposals = baseline.propose(rows, select, reason, found.folder.name, folder, now.date().isoformat())
        if dry_run == "dry run":
            return ApprovalAnswer(found.folder.name, tuple(proposals), None)
        when = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        with writing(service.engine).begin() as connection:
            said = {"select": select, "reason": reason.strip(), "rows": len(proposals), "semantic": semantic}
            audit.note(connection, caller.name, "approve", project, found.folder.name, **said)
            approval = baseline.approve(proposals, folder, caller.name, select, when)
            tell(connection, "run approved", project, run=found.folder.name, by=caller.name, rows=len(proposals))
    return ApprovalAnswer(found.folder.name, tuple(proposals), approval)


def accepted_lines(service: "Service", project: str) -> list[Accepted]:
    """What the project accepted, by row."""
    return [line for _, line in sorted(_accepted(service, project).items())]


def approvals(service: "Service", project: str) -> list[Approval]:
    """Every act of accepting, the last one first."""
    folders = Folders(service.config)
    return baseline.read_audit(baseline.audit_of(folders.baselines(project)))[::-1]


def _opened(service: "Service", project: str, run: str) -> Run:
    """By the name that it has in the index, `latest` too."""
    name = queries.run(service, project, run).name
    return Run.open(Folders(service.config).run(project, name))


def _accepted(service: "Service", project: str) -> dict[Key, Accepted]:
    return baseline.read_baseline(Folders(service.config).baselines(project))


def _rows(run: Run, accepted: dict[Key, Accepted]) -> list[Row]:
    """As the project's baseline leaves them. What was compiled, and not run, no baseline judges."""
    rows = list(light_rows(run))
    return rows if (run.folder / "compilations.jsonl").is_file() else rebase(rows, accepted, run.info)


def _compared(
    service: "Service", project: str, run: Run, rows: list[Row], against: str, accepted: dict[Key, Accepted]
) -> Comparison:
    if against == BASELINE:
        return with_accepted(accepted.values(), run.info, rows)
    name = against
    if against.startswith(OF_BRANCH):
        name = _before(service, project, run.folder.name, against.removeprefix(OF_BRANCH))
    earlier = _opened(service, project, name)
    return with_run(earlier.info, light_rows(earlier), rows)


def _before(service: "Service", project: str, run: str, branch: str) -> str:
    """The last judged run of a branch that arrived before this one."""
    of_run, number = tables.run.c, queries.run(service, project, run).number
    branch = queries.plain(branch)
    with service.engine.connect() as connection:
        where = [of_run.project_id == queries.project_id(service, connection, project), of_run.branch == branch]
        where += [of_run.number < number, of_run.verdict.in_(tuple(WORDS.values()))]
        found = connection.execute(tables.run.select().where(*where).order_by(of_run.number.desc()).limit(1)).first()
    if found is None:
        raise NotFound("no earlier run of that branch", where=f"{project}, {branch[:80]!a}")
    return found.name


def _passes(row: Row) -> bool:
    return row.verdict == "pass" or (row.verdict == "skipped" and bool(row.reason.strip()))


def _name(row: Row) -> str:
    return f"{row.drift.case}/{row.drift.cell}/{row.drift.mode}/{row.drift.address}"


def _changed(change: RowChange) -> ChangedRow:
    drift = change.row.drift
    named = (drift.case, drift.cell, drift.mode, drift.address)
    return ChangedRow(str(change.status), _name(change.row), *named, change.verdicts, change.text, change.numbers)
