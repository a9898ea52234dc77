"""Writes the lines of the index: projects, runs, places and, by the hundred thousand, rows."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from paritygate.core.errors import ExitCode
from paritygate.service.folders import Arrival
from paritygate.service.reading import Judged, Known, Place
from paritygate.service.summaries import UNREADABLE, RunSummary
from paritygate.service.tables import place, project, row, run

T = TypeVar("T")

_CHUNK = 5_000
_COLUMNS = (
    "run_id", "position", "place_id", "verdict", "diagnosis", "metric", "value", "ratio", "limit", "share", "others",
    "accepted", "digest",
)  # fmt: skip


def project_line(connection: Connection, name: str, created: float) -> int:
    """The id of a project's line, made where there is none."""
    found = connection.execute(select(project.c.id).where(project.c.name == name)).scalar()
    if found is None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(project).on_conflict_do_nothing().values(name=name, created=created))
        found = connection.execute(select(project.c.id).where(project.c.name == name)).scalar_one()
    return found


def put_run(
    connection: Connection, project_id: int, name: str, known: Known, arrival: Arrival, pinned: bool, content: str
) -> RunSummary:
    """The lines of a run, in place of those that it may have."""
    info = known.info
    summary = RunSummary(
        name, arrival.number, info.suite, arrival.branch, arrival.commit, arrival.pull_request, known.platforms,
        known.verdict, known.exit_code, len(known.rows), known.passed, known.failed, known.skipped, known.started,
        arrival.arrived, arrival.by, info.wall_s, info.fault, content, pinned,
    )  # fmt: skip
    run_id = _replace(connection, project_id, summary)
    insert_rows(connection, run_id, known.rows, place_ids(connection, project_id, (each.place for each in known.rows)))
    return summary


def put_unreadable(
    connection: Connection, project_id: int, name: str, arrival: Arrival, pinned: bool, content: str = ""
) -> None:
    """A line that says that there is a folder which nobody can read."""
    summary = RunSummary(
        name, arrival.number, "", arrival.branch, arrival.commit, arrival.pull_request, (), UNREADABLE,
        int(ExitCode.USAGE), 0, 0, 0, 0, 0.0, arrival.arrived, arrival.by, 0.0, "", content, pinned,
    )  # fmt: skip
    _replace(connection, project_id, summary)


def _replace(connection: Connection, project_id: int, summary: RunSummary) -> int:
    connection.execute(delete(run).where(run.c.project_id == project_id, run.c.name == summary.name))
    return insert_run(connection, project_id, summary)


def insert_run(connection: Connection, project_id: int, summary: RunSummary) -> int:
    """The line of a run; gives its id."""
    values = {name: getattr(summary, name) for name in RunSummary.__dataclass_fields__}
    values |= {"platforms": f" {' '.join(summary.platforms)} ", "pinned": int(summary.pinned)}
    return connection.execute(insert(run).values(project_id=project_id, **values).returning(run.c.id)).scalar_one()


def place_ids(connection: Connection, project_id: int, places: Iterable[Place]) -> dict[Place, int]:
    """The id of each place of a project, new ones made.

    Safe beside another upload that makes the same ones: in one order, so that neither waits for what waits for it, and
    a place that is there by then is left as it is.
    """
    wanted = sorted(set(places))
    found = _known(connection, project_id, wanted)
    if missing := [each for each in wanted if each not in found]:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(place).on_conflict_do_nothing()
        for part in _parts(missing):
            values = [
                {"project_id": project_id, "case": case, "cell": cell, "mode": mode, "address": address}
                for case, cell, mode, address in part
            ]
            connection.execute(statement, values)
        found |= _known(connection, project_id, missing)
    return found


def _known(connection: Connection, project_id: int, wanted: Sequence[Place]) -> dict[Place, int]:
    """Case by case: a run has few, and all places of a case are mostly in it."""
    columns = (place.c.case, place.c.cell, place.c.mode, place.c.address, place.c.id)
    found: dict[Place, int] = {}
    for case in sorted({each[0] for each in wanted}):
        there = connection.execute(select(*columns).where(place.c.project_id == project_id, place.c.case == case))
        found.update(((each[0], each[1], each[2], each[3]), each[4]) for each in there)
    return found


def insert_rows(connection: Connection, run_id: int, rows: Sequence[Judged], ids: dict[Place, int]) -> None:
    """All rows of a run, at their positions."""
    lines = ((run_id, position, ids[each.place], *each[1:]) for position, each in enumerate(rows))
    if connection.dialect.name == "postgresql":
        _copy(connection, lines)
    else:
        names = ", ".join(f'"{name}"' for name in _COLUMNS)
        statement = f'INSERT INTO "{row.name}" ({names}) VALUES ({", ".join("?" * len(_COLUMNS))})'
        for part in _parts(lines):
            connection.exec_driver_sql(statement, part)


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while part := list(islice(rest, _CHUNK)):
        yield part


def _copy(connection: Connection, lines: Iterator[tuple[Any, ...]]) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    with driver.cursor() as cursor, cursor.copy(f'COPY "{row.name}" ({names}) FROM STDIN') as copy:
        for line in lines:
            copy.write_row(line)
