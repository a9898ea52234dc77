"""`/healthz`: the process answers. `/readyz`: its database does, at the revision that this code needs."""

import asyncio
from concurrent.futures import Future
from threading import Thread

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from paritygate.service.app import ServiceOf
from paritygate.service.database import revisions

ROUTER = APIRouter(tags=["health"])
WITHIN_S = 2.0
Found = tuple[str | None, str | None]


@ROUTER.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@ROUTER.get("/readyz", responses={503: {"description": "the database does not answer, or is of another revision"}})
async def readyz(request: Request, service: ServiceOf) -> JSONResponse:
    """Within two seconds, also where the database takes a connection and then says nothing."""
    asked = asyncio.wrap_future(_asked(request, service.engine))
    await asyncio.wait([asked], timeout=WITHIN_S)
    if not asked.done():
        return JSONResponse({"status": "no database", "reason": f"no answer in {WITHIN_S:g} s"}, 503)
    found = asked.result()
    if isinstance(found, SQLAlchemyError):
        return JSONResponse({"status": "no database", "reason": type(found).__name__}, 503)
    at, needed = found
    said = {"status": "ok" if at == needed else "another revision", "database": at, "code": needed}
    return JSONResponse(said, 200 if at == needed else 503)


def _asked(request: Request, engine: Engine) -> "Future[Found | SQLAlchemyError]":
    """By a thread of its own, one at a time, that nobody waits for at the end: what hangs, hangs there."""
    state = request.app.state
    if getattr(state, "asked", None) is None or state.asked.done():
        state.asked = Future[Found | SQLAlchemyError]()
        Thread(target=_ask, args=(engine, state.asked), name="readyz", daemon=True).start()
    return state.asked


def _ask(engine: Engine, asked: "Future[Found | SQLAlchemyError]") -> None:
    try:
        asked.set_result(revisions(engine))
    except SQLAlchemyError as reason:
        asked.set_result(reason)
    except BaseException as reason:
        asked.set_exception(reason)
