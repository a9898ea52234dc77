"""What happens, as server-sent events: of a project, or of one job until it has ended.

A reader comes back with the id of the last one that it has, in the header `Last-Event-ID` or as `after`, and misses
nothing.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from paritygate.service import events, jobs
from paritygate.service.access import Reader, require
from paritygate.service.answers import InProject
from paritygate.service.app import Service, ServiceOf
from paritygate.service.database import away
from paritygate.service.leases import sweep
from paritygate.service.problems import Refused, TooMany, documented

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["events"])
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
Happened = Callable[[int], tuple[list[events.Event], bool]]
LOOKS_EVERY_S = 0.5
_ALIVE_EVERY_S = 15.0  # a comment, by which both ends know that the other is there
_TAKEN_S = 30.0  # until a reader has taken what it was sent

_STREAM = {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "events, as they happen"}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _STREAM,
    204: {"description": "the job has ended, and all of it was read"},
    **documented([401, 403, 404, 422, 429]),
}


def _after(
    last: Annotated[str, Header(alias="Last-Event-ID", max_length=19)] = "",
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
) -> int:
    """A browser's own header goes before the parameter, which it sends again as it was."""
    return min(int(last), 2**63 - 1) if last.isascii() and last.isdecimal() else after


After = Annotated[int, Depends(_after)]


@ROUTER.get("/events", response_class=StreamingResponse, responses=_ANSWERS)
def of_project(project: InProject, after: After, request: Request, service: ServiceOf, caller: Reader) -> Any:
    """What happens in a project."""
    jobs.require_project(service, project)
    return Stream(request, service, caller.name, project, after, None)


@ROUTER.get("/jobs/{number}/events", response_class=StreamingResponse, responses=_ANSWERS)
def of_job(
    project: InProject, number: Number, after: After, request: Request, service: ServiceOf, caller: Reader
) -> Any:
    """What happens to a job, from the beginning or behind an event, until it has ended."""
    jobs.show(service, project, number)
    if after and jobs.has_ended(service, number) and not events.since(service, project, after, number, limit=1):
        return Response(status_code=204)  # a browser then asks no more
    return Stream(request, service, caller.name, project, after, number)


class Stream(StreamingResponse):
    """Events of a project, or of a job, from the table, whatever server wrote them.

    The service allows so many at a time, of one reader a part of these, each so long; one whose reader takes nothing is
    dropped.
    """

    def __init__(self, request: Request, service: Service, reader: str, project: str, after: int, job: int | None):
        self._open, self._limits, self._reader = _opened(request), service.config.limits, reader
        super().__init__(
            self._texts(lambda behind: _happened(request, service, project, behind, job), after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def taken(message: Message) -> None:
            await asyncio.wait_for(send(message), _TAKEN_S)

        if self._open[self._reader] >= self._limits.reader_streams:
            most, try_ = (
                f"at most {self._limits.reader_streams}",
                "close one: that of a project has what its jobs' have",
            )
            raise TooMany("too many streams of one reader", where=self._reader, expected=most, try_=try_)
        if self._open.total() >= self._limits.streams:
            raise TooMany("too many streams", expected=f"at most {self._limits.streams}", try_="again later")
        self._open[self._reader] += 1
        try:
            await super().__call__(scope, receive, taken)
        except TimeoutError:
            return  # the connection ends in mid-answer, and its reader comes back, if there is one
        finally:
            self._open[self._reader] -= 1
            if not self._open[self._reader]:
                del self._open[self._reader]

    async def _texts(self, happened: Happened, after: int) -> AsyncIterator[str]:
        began = said = time.monotonic()
        yield "retry: 2000\n\n"
        while time.monotonic() - began < self._limits.stream_s:
            try:
                found, ended = await run_in_threadpool(happened, after)
            except Refused:
                return  # its reader comes back, and is told why
            except SQLAlchemyError as reason:
                if away(reason) is None:
                    raise
                return
            for each in found:
                after = each.id
                yield _text(each)
            if found:
                said = time.monotonic()
                continue
            if ended:
                yield "event: end\ndata: {}\n\n"
                return
            if time.monotonic() - said >= _ALIVE_EVERY_S:
                said = time.monotonic()
                yield ": alive\n\n"
            await asyncio.sleep(LOOKS_EVERY_S)


def _opened(request: Request) -> Counter[str]:
    """How many streams this process has open, by reader."""
    state = request.app.state
    if not hasattr(state, "opened"):
        state.opened = Counter[str]()
    return state.opened


def _happened(
    request: Request, service: Service, project: str, after: int, job: int | None
) -> tuple[list[events.Event], bool]:
    """What is behind an event; and whether nothing will be, which is asked first, so that nothing comes between.

    Raises Unauthorized as soon as the token is revoked that the stream was opened with.
    """
    require(request, "read")
    sweep(service)
    ended = job is not None and jobs.has_ended(service, job)
    return events.since(service, project, after, job), ended


def _text(each: events.Event) -> str:
    """JSON has no line break, so that it is one line of data."""
    said = {"at": each.at, "kind": each.kind, "job": each.job, **each.data}
    return f"id: {each.id}\nevent: {each.kind.replace(' ', '-')}\ndata: {json.dumps(said)}\n\n"
