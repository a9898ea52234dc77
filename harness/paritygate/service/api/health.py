"""`/healthz`: the process answers. `/readyz`: its database does, at the revision that this code needs."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from paritygate.service.app import ServiceOf
from paritygate.service.database import revisions

ROUTER = APIRouter(tags=["health"])


@ROUTER.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@ROUTER.get("/readyz", responses={503: {"description": "the database does not answer, or is of another revision"}})
def readyz(service: ServiceOf) -> JSONResponse:
    try:
        at, needed = revisions(service.engine)
    except SQLAlchemyError as reason:
        return JSONResponse({"status": "no database", "reason": type(reason).__name__}, 503)
    said = {"status": "ok" if at == needed else "another revision", "database": at, "code": needed}
    return JSONResponse(said, 200 if at == needed else 503)
