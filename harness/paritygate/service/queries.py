"""What is read of the index: projects, runs, the rows of a run. By names only, a part of a list at a time.

These are the reads that a service has most of, so each is a statement or two on an index of its table, made once for
each set of filters, and no rows are counted.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Connection, Float, Integer, Select, and_, bindparam, func, select, tuple_

from paritygate.core.drift import Verdict
from paritygate.core.run_files import is_run_name
from paritygate.service import local, tables
from paritygate.service.database import reading
from paritygate.service.folders import LATEST, LOCAL
from paritygate.service.problems import Conflict, NotFound, Refused
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
_PROJECT_ID = select(tables.project.c.id).where(tables.project.c.name == bindparam("project")).scalar_subquery()
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
    given: dict[str, Any] = {name: plain(text) for name in _RUN_FILTERS if (text := getattr(filter, name))}
    if filter.commit:
        given["commit"] = f"{_escaped(filter.commit)}%"
    if filter.platform:
        given["platform"] = f"% {_escaped(filter.platform)} %"
    if page.after:
        given["after"] = whole(page.after)
    _prepare(service, project)
    values = {"project": plain(project), "limit": page.limit + 1, **given}
    with reading(service.engine).connect() as connection:
        found = [_summary(line) for line in connection.execute(_runs_statement(frozenset(given)), values).all()]
        if not found:
            project_id(service, connection, project)  # which says so where there is no project
    return paged(found, page, lambda each: str(each.number))


_RUN_FILTERS = ("branch", "verdict", "suite", "pull_request")


@cache
def _runs_statement(given: frozenset[str]) -> Select[Any]:
    of_run = tables.run.c
    conditions = {name: of_run[name] == bindparam(name) for name in _RUN_FILTERS} | {
        "commit": of_run.commit.like(bindparam("commit"), escape="\\"),
        "platform": of_run.platforms.like(bindparam("platform"), escape="\\"),
        "after": of_run.number < bindparam("after"),
    }
    where = [of_run.project_id == _PROJECT_ID, *(conditions[name] for name in sorted(given))]
    return select(*_RUN).where(*where).order_by(of_run.number.desc()).limit(bindparam("limit"))


def run(service: "Service", project: str, name: str) -> RunSummary:
    """A run by its name, or the last one: `latest`, `latest:BRANCH`, `~` for `/` where in a path. Raises NotFound."""
    with reading(service.engine).connect() as connection:
        return _summary(run_line(service, connection, project, name))


def run_line(service: "Service", connection: Connection, project: str, name: str) -> Any:
    """The line of the run that a name names, its id and its project's behind what a summary has. Raises NotFound."""
    _prepare(service, project)
    what, _, branch = name.partition(":")
    branch = branch.replace("~", "/")  # which a path has no place for; git has no branch with a ~
    by = "branch" if what == LATEST and branch else LATEST if what == LATEST else "name"
    if by == "name" and not is_run_name(name):
        raise NotFound("no such run", where=_shown(name))
    given = {"project": plain(project), "name": name, "branch": plain(branch)}
    line = connection.execute(_run_statement(by), given).first()
    if line is None:
        project_id(service, connection, project)
        raise NotFound("no such run", where=f"{project}/{_shown(name)}")
    return line


@cache
def _run_statement(by: str) -> Select[Any]:
    of_run = tables.run.c
    statement = select(*_RUN, of_run.id, of_run.project_id).where(of_run.project_id == _PROJECT_ID)
    if by == "name":
        return statement.where(of_run.name == bindparam("name"))
    if by == "branch":
        statement = statement.where(of_run.branch == bindparam("branch"))
    return statement.order_by(of_run.number.desc()).limit(1)


def rows(
    service: "Service",
    project: str,
    run: str,
    filter: RowFilter = ALL_ROWS,
    order: Order = "position",
    page: Page = FIRST,
) -> Paged[RowSummary]:
    """The rows of a run, as they are in its file, or the largest share of a budget first and those without one last."""
    given = _given(filter)
    _prepare(service, project)
    with reading(service.engine).connect() as connection:
        name = run if is_run_name(run) and run != LATEST else run_line(service, connection, project, run).name
        given |= {"project": plain(project), "name": name}
        found = (_by_share if order == "share" else _by_position)(connection, given, page)
        if not found:
            run_line(service, connection, project, name)  # which says so where there is no such run
    return paged(found, page, _share_cursor if order == "share" else lambda each: str(each.position))


def every_row(service: "Service", project: str, run: str, filter: RowFilter = ALL_ROWS) -> Iterator[RowSummary]:
    """All rows of a run; a part at a time, so that nobody waits for a reader that is slow.

    Raises before the first where there is no such run, and Conflict behind some of them where it goes meanwhile.
    """
    given, engine = _given(filter), reading(service.engine)
    with engine.connect() as connection:
        line = run_line(service, connection, project, run)
    given |= {"project": project, "name": line.name}
    of_run = tables.run.c  # an id that is free again may be another run's
    still_there = select(of_run.id).where(of_run.id == line.id, of_run.content == line.content)

    def parts() -> Iterator[RowSummary]:
        page = Page(_STREAMED)
        while True:
            with engine.connect() as connection:
                found = _by_position(connection, given, page)
                if len(found) <= page.limit and not connection.execute(still_there).first():
                    raise Conflict("run was removed while its rows were read", where=f"{project}/{line.name}")
            yield from found[: page.limit]
            if len(found) <= page.limit:
                return
            page = replace(page, after=str(found[page.limit - 1].position))

    return parts()


_ROW_FILTERS = ("case", "cell", "mode", "address", "like")


def _given(filter: RowFilter) -> dict[str, Any]:
    """What a filter says, for the statement."""
    if filter.verdict and filter.verdict not in tuple(Verdict):
        raise Refused("no verdict of a row", where=_shown(filter.verdict), expected=" or ".join(Verdict))
    names = ("verdict", "case", "cell", "mode")
    given: dict[str, Any] = {name: plain(text) for name in names if (text := getattr(filter, name))}
    if set(filter.address) & set("*?"):  # as in a glob; every other character stands for itself, those of LIKE too
        given["like"] = _escaped(filter.address).replace("*", "%").replace("?", "_")
    elif filter.address:
        given["address"] = plain(filter.address)
    return given


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", plain(text))


@cache
def _rows_statement(given: frozenset[str], part: Literal["position", "share", "shareless"]) -> Select[Any]:
    row, place = tables.row.c, tables.place.c
    of_run = row.run_id == _run_statement("name").with_only_columns(tables.run.c.id).scalar_subquery()
    where = [of_run]
    if "verdict" in given:
        where.append(row.verdict == bindparam("verdict"))
    by_place = bool(given & set(_ROW_FILTERS))
    if by_place:
        where.append(place.project_id == _PROJECT_ID)
        where += [place[name] == bindparam(name) for name in ("case", "cell", "mode", "address") if name in given]
    if "like" in given:
        where.append(place.address.like(bindparam("like"), escape="\\"))
    order: list[ColumnElement[Any]] = [row.position]
    if part == "share":
        order = [row.share.desc(), row.position.desc()]
        where.append(row.share.is_not(None))
        if "share" in given:
            behind = tuple_(bindparam("share", type_=Float), bindparam("position", type_=Integer))
            where.append(tuple_(row.share, row.position) < behind)
    else:
        where.append(row.position > bindparam("position"))
        if part == "shareless":
            where.append(row.share.is_(None))
    if not by_place:
        return select(*_ROW).select_from(_OF_ROW).where(*where).order_by(*order).limit(bindparam("limit"))
    # Many places may have the address: they are put in order by their index alone, and only what is shown is read.
    found = (
        select(row.position).select_from(_OF_ROW).where(*where).order_by(*order).limit(bindparam("limit")).subquery()
    )
    shown = _OF_ROW.join(found, found.c.position == row.position)
    return select(*_ROW).select_from(shown).where(of_run).order_by(*order)


def _by_position(connection: Connection, given: dict[str, Any], page: Page) -> list[RowSummary]:
    values = {**given, "position": whole(page.after) if page.after else -1, "limit": page.limit + 1}
    return [_row(line) for line in connection.execute(_rows_statement(frozenset(given), "position"), values).all()]


def _by_share(connection: Connection, given: dict[str, Any], page: Page) -> list[RowSummary]:
    """First those that have a share, then those that have none; a cursor says which, and where."""
    share, position = _behind(page.after)
    found: list[RowSummary] = []
    if share is not None or not page.after:
        judged = given if share is None else {**given, "share": share}
        values = {**judged, "position": position, "limit": page.limit + 1}
        found = [_row(line) for line in connection.execute(_rows_statement(frozenset(judged), "share"), values).all()]
        position = -1
    if len(found) <= page.limit:
        values = {**given, "position": position, "limit": page.limit + 1 - len(found)}
        found += [
            _row(line) for line in connection.execute(_rows_statement(frozenset(given), "shareless"), values).all()
        ]
    return found


def _share_cursor(row: RowSummary) -> str:
    return f"{'' if row.share is None else row.share.hex()}@{row.position}"


def _behind(cursor: str) -> tuple[float | None, int]:
    """Raises Refused where it is no cursor that an answer gave."""
    if not cursor:
        return None, -1
    share, _, position = cursor.partition("@")
    try:
        number = float.fromhex(share) if share else None
    except (ValueError, OverflowError):
        raise _no_cursor(cursor) from None
    if number is not None and not math.isfinite(number):
        raise _no_cursor(cursor)
    return number, whole(position)


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
    _prepare(service, name)
    found = connection.execute(select(tables.project.c.id).where(tables.project.c.name == plain(name))).scalar()
    if found is None:
        raise NotFound("no such project", where=_shown(name))
    return found


def _prepare(service: "Service", project: str) -> None:
    if project == LOCAL:
        if service.config.unnamed != "loopback":
            raise NotFound("no such project", where=LOCAL)
        local.look(service)


def plain(text: str) -> str:
    """Raises Refused where no database would take it."""
    if not is_plain(text, 512):
        raise Refused("no text", where=_shown(text), expected="at most 512 characters, none of them NUL")
    return text


def _shown(text: str) -> str:
    return ascii(text[:80])


def _summary(line: Sequence[Any]) -> RunSummary:
    *values, pinned = line[: len(_RUN)]
    values[6] = tuple(values[6].split())
    return RunSummary(*values, pinned=bool(pinned))


def _row(line: Sequence[Any]) -> RowSummary:
    return RowSummary(*line[:12], accepted=bool(line[12]), digest=line[13])
