"""What is read of the index, as plain data: no id of the database in it, only names."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# What a run ends with, in the words of its report; two more of runs that no gate can judge.
UNJUDGED, UNREADABLE = "unjudged", "unreadable"
VERDICTS = ("pass", "fail", "incomplete", "nothing compared", UNJUDGED, UNREADABLE)


@dataclass(frozen=True)
class Page:
    """A part of a list: at most `limit` of it, behind the cursor `after`, which an answer gave as `next`."""

    limit: int = 100
    after: str = ""


@dataclass(frozen=True)
class Paged(Generic[T]):
    """A part of a list; `next` is the cursor of the next part, empty where there is none."""

    items: tuple[T, ...]
    next: str = ""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as a list shows it. `verdict` and `exit_code` are those of the run as it was judged where it ran;
    what the baseline of its project makes of it is the answer of the gate. Times are seconds since 1970, UTC."""

    name: str
    number: int
    suite: str
    branch: str
    commit: str
    pull_request: str
    platforms: tuple[str, ...]
    verdict: str
    exit_code: int
    rows: int
    passed: int
    failed: int
    skipped: int
    started: float
    arrived: float
    arrived_by: str
    wall_s: float
    fault: str
    content: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """A project, and its last run; empty where it has none."""

    name: str
    created: float
    runs: int
    latest: str
    latest_verdict: str
    latest_arrived: float | None


@dataclass(frozen=True, slots=True)
class RowSummary:
    """A row, with the judgement that decided it: `share` is the part of the budget that is used.

    `position` is its line in `rows.jsonl`, from 0. The numbers are None where nothing was judged.
    """

    position: int
    case: str
    cell: str
    mode: str
    address: str
    verdict: str
    diagnosis: str
    metric: str
    value: float | None
    ratio: float | None
    limit: float | None
    share: float | None
    accepted: bool
    digest: str
