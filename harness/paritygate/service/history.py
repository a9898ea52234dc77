"""What became of rows: one place across the runs of a project, and two runs beside each other. Reads the index only.

What has moved, and which way, `judge/compare.py` decides, as `paritygate compare` does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from sqlalchemy import Connection, Select, bindparam, select

from paritygate.core.comparison import SAME, Status
from paritygate.core.drift import Verdict
from paritygate.judge.compare import Standing, status_of
from paritygate.service import queries, tables
from paritygate.service.database import reading
from paritygate.service.problems import Refused, TooLarge
from paritygate.service.summaries import Page

if TYPE_CHECKING:
    from paritygate.service.app import Service


class _Line(NamedTuple):
    """Of the row's table. Its fields are read several times each, and SQLAlchemy's rows look every one up by name."""

    position: int
    place_id: int
    verdict: str
    accepted: int
    digest: str
    metric: str
    value: float | None
    share: float | None
    others: str


_COLUMNS = tuple(tables.row.c[name] for name in _Line._fields)


@dataclass(frozen=True, slots=True)
class Point:
    """A place in one run. The numbers are of the judgement that decided the row; None where nothing was judged."""

    run: str
    number: int
    commit: str
    branch: str
    arrived: float
    verdict: str
    accepted: bool
    metric: str
    value: float | None
    share: float | None
    digest: str


@dataclass(frozen=True, slots=True)
class Step:
    """Where a place moved: what became of it in `run`, since `before`, the run before that has it."""

    run: str
    number: int
    commit: str
    before: str
    status: str
    share_before: float | None
    share: float | None


@dataclass(frozen=True)
class History:
    """A place across runs, the oldest first. `more` says that older ones were left out."""

    case: str
    cell: str
    mode: str
    address: str
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Side:
    """A row in one of two runs."""

    position: int
    verdict: str
    accepted: bool
    metric: str
    value: float | None
    share: float | None
    digest: str


@dataclass(frozen=True, slots=True)
class ChangedPlace:
    """What became of a place from one run to another; None on the side where it was not compared."""

    status: str
    case: str
    cell: str
    mode: str
    address: str
    before: Side | None
    after: Side | None


@dataclass(frozen=True)
class ComparisonPage:
    """Two runs beside each other. `counts` are of all rows, `items` a part of those that were asked for."""

    left: str
    right: str
    counts: dict[str, int]
    items: tuple[ChangedPlace, ...]
    next: str = ""


def history(
    service: "Service",
    project: str,
    case: str,
    cell: str,
    mode: str,
    address: str,
    branch: str = "",
    limit: int = 200,
) -> History:
    """The last `limit` runs that have the place; of one branch, where one is named."""
    named = {"case": case, "cell": cell, "mode": mode, "address": address, **({"branch": branch} if branch else {})}
    values = {name: queries.plain(value) for name, value in named.items()}
    with reading(service.engine).connect() as connection:
        id = queries.project_id(service, connection, project)
        lines = connection.execute(_across(frozenset(values)), {**values, "project": id, "limit": limit + 1}).all()
    kept = [(line[:_OF_RUN], _Line._make(line[_OF_RUN:])) for line in lines[:limit][::-1]]
    points = tuple(_point(*each) for each in kept)
    compared = [
        (point, _standing(line))
        for point, (_, line) in zip(points, kept, strict=True)
        if line.verdict != Verdict.SKIPPED
    ]
    steps = tuple(
        Step(point.run, point.number, point.commit, last.run, str(status), last.share, point.share)
        for (last, before), (point, after) in pairwise(compared)
        if (status := status_of(before, after)) not in SAME
    )
    return History(case, cell, mode, address, points, steps, len(lines) > limit)


_OF_RUN = 5  # columns of it, before those of the row


def _point(of_run: Sequence[Any], line: _Line) -> Point:
    name, number, commit, branch, arrived = of_run
    decided = (line.verdict, bool(line.accepted), line.metric, line.value, line.share, line.digest)
    return Point(name, number, commit, branch, arrived, *decided)


@cache
def _across(given: frozenset[str]) -> Select[Any]:
    place, row, run = tables.place, tables.row, tables.run
    columns = (run.c.name, run.c.number, run.c.commit, run.c.branch, run.c.arrived, *_COLUMNS)
    joined = place.join(row, row.c.place_id == place.c.id).join(run, run.c.id == row.c.run_id)
    where = [place.c.project_id == bindparam("project")]
    where += [(run if name == "branch" else place).c[name] == bindparam(name) for name in sorted(given)]
    statement = select(*columns).select_from(joined).where(*where)
    return statement.order_by(run.c.number.desc()).limit(bindparam("limit"))


def compare(
    service: "Service", project: str, left: str, right: str, status: str = "", page: Page = queries.FIRST
) -> ComparisonPage:
    """What changed from `left` to `right`, the worst first, or the rows of one status."""
    if status and status not in tuple(Status):
        raise Refused("no status of a row", where=f"{status[:80]!a}", expected=" or ".join(Status))
    with service.engine.connect() as connection:
        sides = [queries.run_line(service, connection, project, name) for name in (left, right)]
        most = service.config.limits.compared_rows
        if sum(side.rows for side in sides) > most:
            got = f"{sum(side.rows for side in sides):,}"
            raise TooLarge("runs are too large to compare here", where=project, expected=f"{most:,} rows", got=got)
        before, after = (_compared(connection, side.id) for side in sides)
        changes = [(_status(before.get(id), after.get(id)), id) for id in dict.fromkeys([*before, *after])]
        counts = Counter(each for each, _ in changes)
        wanted = [each for each in changes if (each[0] == status if status else each[0] not in SAME)]
        ranks = {each: rank for rank, each in enumerate(Status)}
        wanted.sort(key=lambda each: (ranks[each[0]], (after.get(each[1]) or before[each[1]]).position, each[1]))
        first = queries.whole(page.after) if page.after else 0
        shown = wanted[first : first + page.limit]
        names = _places(connection, [id for _, id in shown])
        items = tuple(
            ChangedPlace(str(each), *names[id], _side(before.get(id)), _side(after.get(id))) for each, id in shown
        )
    following = str(first + page.limit) if first + page.limit < len(wanted) else ""
    ordered = {str(each): counts[each] for each in Status if counts[each]}
    return ComparisonPage(sides[0].name, sides[1].name, ordered, items, following)


def _compared(connection: Connection, run_id: int) -> dict[int, _Line]:
    """By place; a skipped row counts as not compared."""
    row = tables.row.c
    statement = select(*_COLUMNS).where(row.run_id == run_id, row.verdict != str(Verdict.SKIPPED))
    lines = (_Line._make(line) for line in connection.execute(statement.order_by(row.position)))
    return {line.place_id: line for line in lines}


def _status(old: _Line | None, new: _Line | None) -> Status:
    if old and new and old.digest and _bits(old) == _bits(new):
        return Status.IDENTICAL  # most are, and need no more looking at
    return status_of(_standing(old) if old else None, _standing(new) if new else None)


def _bits(line: _Line) -> tuple[str, str, int]:
    return (line.digest, line.verdict, line.accepted)


def _standing(line: _Line) -> Standing:
    shares = {line.metric: line.share} if line.share is not None else {}
    if line.others:
        shares |= orjson.loads(line.others)
    return Standing(line.verdict, bool(line.accepted), line.digest, shares)


def _side(line: _Line | None) -> Side | None:
    if line is None:
        return None
    return Side(
        line.position, line.verdict, bool(line.accepted), line.metric, line.value, line.share, line.digest
    )  # fmt: skip


def _places(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, str, str, str]]:
    place = tables.place.c
    statement = select(place.id, place.case, place.cell, place.mode, place.address).where(place.id.in_(ids))
    return {line[0]: (line[1], line[2], line[3], line[4]) for line in connection.execute(statement)}
