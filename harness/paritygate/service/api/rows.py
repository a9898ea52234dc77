"""The rows of a run: a part at a time, or all as lines of JSON."""

import logging
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import After, InProject, Limit, OfRun, Text, answer, described, line, page
from paritygate.service.app import ServiceOf
from paritygate.service.problems import Conflict
from paritygate.service.summaries import Paged, RowSummary

LOG = logging.getLogger(__name__)
ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["rows"])
_PART = 1_000  # lines that are sent at a time

_described: dict[str, Any] = described(Paged[RowSummary])
_described["responses"][200]["content"]["application/jsonl"] = {"schema": {"type": "string"}}


@ROUTER.get("/runs/{run}/rows", **_described)
def list_rows(
    service: ServiceOf,
    caller: Reader,
    project: InProject,
    run: OfRun,
    verdict: Text = "",
    case: Text = "",
    cell: Text = "",
    mode: Text = "",
    address: Annotated[str, Query(description="SITE:PORT#CALL, or a glob over it: * and ?.", max_length=256)] = "",
    order: Annotated[queries.Order, Query(description="As in the file, or the largest share first.")] = "position",
    format: Annotated[Literal["json", "jsonl"], Query(description="jsonl: all of them, one a line.")] = "json",
    limit: Limit = 100,
    after: After = "",
) -> Response:
    """Each with the judgement that decided it. As `jsonl` all that the filter leaves, by position, whole or, where the
    run is removed meanwhile, broken off; the others are for a part of the list."""
    filter = queries.RowFilter(verdict, case, cell, mode, address)
    if format == "jsonl":
        found = queries.every_row(service, project, run, filter)
        return Lines(_lines(found), media_type="application/jsonl")
    return answer(queries.rows(service, project, run, filter, order, page(limit, after)))


class Lines(StreamingResponse):
    """Lines that are whole, or an answer that breaks off: its connection ends without the end of the body, which every
    client of HTTP takes for an error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except (Conflict, SQLAlchemyError) as reason:
            LOG.warning("%a broke off: %a", scope["path"], str(reason))


def _lines(rows: Iterator[RowSummary]) -> Iterator[bytes]:
    part: list[bytes] = []
    for row in rows:
        part.append(line(row))
        if len(part) == _PART:
            yield b"".join(part)
            part.clear()
    yield b"".join(part)
