"""What is read of the index: projects, runs, the rows of a run. By names only, a part of a list at a time.

These are the reads that a service has most of, so each is one statement on an index of its table, and no rows are
counted.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, tuple_

from paritygate.core.drift import Verdict
from paritygate.service import local, tables
from paritygate.service.folders import LATEST, LOCAL, RUN_NAME
from paritygate.service.problems import NotFound, Refused
from paritygate.service.reading import is_plain
from paritygate.service.summaries import VERDICTS, Page, Paged, ProjectSummary, RowSummary, RunSummary
from paritygate.service.tokens import Caller

if TYPE_CHECKING:
    from paritygate.service.app import Service

T = TypeVar("T")
Order = Literal["position", "share"]

_RUN = tuple(tables.run.c[name] for name in RunSummary.__dataclass_fields__)
_ROW = tuple(
    (tables.place if name in tables.place.c else tables.row).c[name] for name in RowSummary.__dataclass_fields__
)
_OF_ROW = tables.row.join(tables.place, tables.place.c.id == tables.row.c.place_id)
_STREAMED = 5_000  # rows that are read at a time where all are asked for


@dataclass(frozen=True)
class RunFilter:
    """Which runs; what is empty leaves in all. `commit` is its beginning, the others are whole names."""

    branch: str = ""
    commit: str = ""
    platform: str = ""
    verdict: str = ""
    suite: str = ""
    pull_request: str = ""


@dataclass(frozen=True)
class RowFilter:
    """Which rows; what is empty leaves in all. `address` is SITE:PORT#CALL, or a glob over it."""

    verdict: str = ""
    case: str = ""
    cell: str = ""
    mode: str = ""
    address: str = ""


FIRST, ALL_RUNS, ALL_ROWS = Page(), RunFilter(), RowFilter()


def projects(service: "Service", caller: Caller, page: Page = FIRST) -> Paged[ProjectSummary]:
    """By name, those that the caller may read."""
    local.look(service)
    project, run = tables.project, tables.run
    last = select(run.c.project_id, func.max(run.c.number).label("number"), func.count().label("runs"))
    per = last.group_by(run.c.project_id).subquery()
    runs = func.coalesce(per.c.runs, 0)
    statement = (
        select(project.c.name, project.c.created, runs, run.c.name, run.c.verdict, run.c.arrived)
        .select_from(project.outerjoin(per, per.c.project_id == project.c.id))
        .outerjoin(run, and_(run.c.project_id == per.c.project_id, run.c.number == per.c.number))
        .where(project.c.name > plain(page.after))
        .order_by(project.c.name)
        .limit(page.limit + 1)
    )
    if service.config.unnamed != "loopback":
        statement = statement.where(project.c.name != LOCAL)
    if caller.project:
        statement = statement.where(project.c.name == caller.project)
    with service.engine.connect() as connection:
        lines = connection.execute(statement)
        found = [ProjectSummary(*line[:3], line[3] or "", line[4] or "", line[5]) for line in lines]
    return paged(found, page, lambda each: each.name)


def runs(service: "Service", project: str, filter: RunFilter = ALL_RUNS, page: Page = FIRST) -> Paged[RunSummary]:
    """The last one first."""
    if filter.verdict and filter.verdict not in VERDICTS:
        raise Refused("no verdict of a run", where=_shown(filter.verdict), expected=" or ".join(VERDICTS))
    columns = tables.run.c
    with service.engine.connect() as connection:
        where = [columns.project_id == project_id(service, connection, project)]
        for name in ("branch", "verdict", "suite", "pull_request"):
            if value := getattr(filter, name):
                where.append(columns[name] == plain(value))
        if filter.commit:
            where.append(columns.commit.startswith(plain(filter.commit), autoescape=True))
        if filter.platform:
            where.append(columns.platforms.contains(f" {plain(filter.platform)} ", autoescape=True))
        if page.after:
            where.append(columns.number < whole(page.after))
        statement = select(*_RUN).where(*where).order_by(columns.number.desc()).limit(page.limit + 1)
        found = [_summary(line) for line in connection.execute(statement)]
    return paged(found, page, lambda each: str(each.number))


def run(service: "Service", project: str, name: str) -> RunSummary:
    """A run by its name, or the last one: `latest`, `latest:BRANCH`. Raises NotFound."""
    with service.engine.connect() as connection:
        return _summary(run_line(service, connection, project, name, *_RUN))


def run_line(service: "Service", connection: Connection, project: str, name: str, *columns: ColumnElement[Any]) -> Any:
    """Columns of the run that a name names. Raises NotFound."""
    of_run = tables.run.c
    statement = select(*columns).where(of_run.project_id == project_id(service, connection, project))
    what, _, branch = name.partition(":")
    if what == LATEST:
        statement = statement.where(of_run.branch == plain(branch)) if branch else statement
        statement = statement.order_by(of_run.number.desc()).limit(1)
    elif re.fullmatch(RUN_NAME, name):
        statement = statement.where(of_run.name == name)
    else:
        raise NotFound("no such run", where=_shown(name))
    line = connection.execute(statement).first()
    if line is None:
        raise NotFound("no such run", where=f"{project}/{_shown(name)}")
    return line


def rows(
    service: "Service",
    project: str,
    run: str,
    filter: RowFilter = ALL_ROWS,
    order: Order = "position",
    page: Page = FIRST,
) -> Paged[RowSummary]:
    """The rows of a run, as they are in its file, or the largest share of a budget first and those without one last."""
    with service.engine.connect() as connection:
        line = run_line(service, connection, project, run, tables.run.c.id, tables.run.c.project_id)
        where = _where(line.id, line.project_id, filter)
        found = (_by_share if order == "share" else _by_position)(connection, where, page)
    return paged(found, page, _share_cursor if order == "share" else lambda each: str(each.position))


def every_row(service: "Service", project: str, run: str, filter: RowFilter = ALL_ROWS) -> Iterator[RowSummary]:
    """All rows of a run; a part at a time, so that nobody waits for a reader that is slow. Raises before the first."""
    with service.engine.connect() as connection:
        line = run_line(service, connection, project, run, tables.run.c.id, tables.run.c.project_id)
    where = _where(line.id, line.project_id, filter)

    def parts() -> Iterator[RowSummary]:
        page = Page(_STREAMED)
        while True:
            with service.engine.connect() as connection:
                found = _by_position(connection, where, page)
            yield from found[: page.limit]
            if len(found) <= page.limit:
                return
            page = replace(page, after=str(found[page.limit - 1].position))

    return parts()


def _where(run_id: int, project_id: int, filter: RowFilter) -> list[ColumnElement[bool]]:
    row, place = tables.row.c, tables.place.c
    where = [row.run_id == run_id]
    if filter.verdict:
        if filter.verdict not in tuple(Verdict):
            raise Refused("no verdict of a row", where=_shown(filter.verdict), expected=" or ".join(Verdict))
        where.append(row.verdict == filter.verdict)
    named = [place[name] == plain(value) for name in ("case", "cell", "mode") if (value := getattr(filter, name))]
    if filter.address:
        named.append(_like(place.address, plain(filter.address)))
    if named:
        where += [place.project_id == project_id, *named]
    return where


def _like(column: ColumnElement[str], glob: str) -> ColumnElement[bool]:
    """`*` and `?` as in a glob; every other character stands for itself, those of LIKE too."""
    if not set(glob) & set("*?"):
        return column == glob
    escaped = re.sub(r"([\\%_])", r"\\\1", glob)
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")


def _select(where: Sequence[ColumnElement[bool]]) -> Select[Any]:
    return select(*_ROW).select_from(_OF_ROW).where(*where)


def _by_position(connection: Connection, where: list[ColumnElement[bool]], page: Page) -> list[RowSummary]:
    position = tables.row.c.position
    behind = [position > whole(page.after)] if page.after else []
    lines = connection.execute(_select([*where, *behind]).order_by(position).limit(page.limit + 1))
    return [_row(line) for line in lines]


def _by_share(connection: Connection, where: list[ColumnElement[bool]], page: Page) -> list[RowSummary]:
    """First those that have a share, then those that have none; a cursor says which, and where."""
    row, wanted = tables.row.c, page.limit + 1
    share, position = _behind(page.after)
    found: list[RowSummary] = []
    if share is not None or not page.after:
        behind = [tuple_(row.share, row.position) < tuple_(share, position)] if page.after else []
        judged = _select([*where, row.share.is_not(None), *behind])
        lines = connection.execute(judged.order_by(row.share.desc(), row.position.desc()).limit(wanted))
        found, position = [_row(line) for line in lines], -1
    if len(found) < wanted:
        rest = _select([*where, row.share.is_(None), row.position > position])
        found += [_row(line) for line in connection.execute(rest.order_by(row.position).limit(wanted - len(found)))]
    return found


def _share_cursor(row: RowSummary) -> str:
    return f"{'' if row.share is None else row.share.hex()}@{row.position}"


def _behind(cursor: str) -> tuple[float | None, int]:
    """Raises Refused where it is no cursor that an answer gave."""
    if not cursor:
        return None, -1
    share, _, position = cursor.partition("@")
    try:
        return (float.fromhex(share) if share else None), whole(position)
    except (ValueError, OverflowError):
        raise _no_cursor(cursor) from None


def whole(cursor: str) -> int:
    """The number that a cursor is. Raises Refused where it is none that an answer gave."""
    if not re.fullmatch(r"[0-9]{1,10}", cursor) or int(cursor) >= 2**31:
        raise _no_cursor(cursor)
    return int(cursor)


def _no_cursor(text: str) -> Refused:
    return Refused("no cursor", where=_shown(text), expected="`next` of an answer to the same request")


def paged(found: list[T], page: Page, cursor: Callable[[T], str]) -> Paged[T]:
    """Of one more than was asked for, if there are so many, those that were asked for."""
    if len(found) <= page.limit:
        return Paged(tuple(found))
    return Paged(tuple(found[: page.limit]), cursor(found[page.limit - 1]))


def part(items: Sequence[T], page: Page) -> Paged[T]:
    """Of a list that is read whole."""
    first = whole(page.after) if page.after else 0
    last = first + page.limit
    return Paged(tuple(items[first:last]), str(last) if last < len(items) else "")


def project_id(service: "Service", connection: Connection, name: str) -> int:
    """Raises NotFound. Of `local`, what has ended since is taken in first."""
    if name == LOCAL:
        if service.config.unnamed != "loopback":
            raise NotFound("no such project", where=LOCAL)
        local.look(service)
    found = connection.execute(select(tables.project.c.id).where(tables.project.c.name == plain(name))).scalar()
    if found is None:
        raise NotFound("no such project", where=_shown(name))
    return found


def plain(text: str) -> str:
    """Raises Refused where no database would take it."""
    if not is_plain(text, 512):
        raise Refused("no text", where=_shown(text), expected="at most 512 characters, none of them NUL")
    return text


def _shown(text: str) -> str:
    return ascii(text[:80])


def _summary(line: Sequence[Any]) -> RunSummary:
    *values, pinned = line
    values[6] = tuple(values[6].split())
    return RunSummary(*values, pinned=bool(pinned))


def _row(line: Sequence[Any]) -> RowSummary:
    return RowSummary(*line[:12], accepted=bool(line[12]), digest=line[13])
