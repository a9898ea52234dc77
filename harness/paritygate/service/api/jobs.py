"""Jobs of a project: asked for by names of the catalog, listed, taken back; and who works at them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from paritygate.core.codec import to_json
from paritygate.service import jobs
from paritygate.service.access import Reader, Submitter
from paritygate.service.app import ServiceOf
from paritygate.service.problems import documented
from paritygate.service.summaries import Page

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["jobs"])
ProjectName = Annotated[str, Path(max_length=64)]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
Name = Annotated[str, Field(pattern=f"^{jobs.NAME}$")]
Label = Annotated[str, Field(pattern=f"^{jobs.LABEL}$")]


class Request(BaseModel):
    """What is to be replayed: names of the catalog, a revision that a worker has, and labels that it must have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    suite: Name
    cells: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[A-Za-z0-9@:;,/ ._-]+$")]
    revision: Annotated[str, Field(pattern=f"^{jobs.REVISION}$")]
    cases: Annotated[list[Name], Field(max_length=256)] = []
    mode: Annotated[str, Field(max_length=16)] = "all"
    branch: Annotated[str, Field(max_length=256)] = ""
    labels: Annotated[list[Label], Field(max_length=16)] = []


@ROUTER.post("/jobs", status_code=201, responses=documented([401, 403, 404, 413, 422, 429]))
def request(project: ProjectName, asked: Request, service: ServiceOf, caller: Submitter) -> Any:
    given = asked.model_dump()
    named = {name: given[name] for name in ("suite", "cells", "mode", "revision", "branch")}
    made = jobs.Asked(cases=tuple(asked.cases), labels=tuple(asked.labels), **named)
    return JSONResponse(to_json(jobs.request(service, caller, project, made)), 201)


@ROUTER.get("/jobs", responses=documented([401, 403, 404, 422]))
def list_(
    project: ProjectName,
    service: ServiceOf,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(max_length=32)] = "",
) -> Any:
    return JSONResponse(to_json(jobs.jobs(service, project, Page(limit, after))))


@ROUTER.get("/jobs/{number}", responses=documented([401, 403, 404, 422]))
def show(project: ProjectName, number: Number, service: ServiceOf, caller: Reader) -> Any:
    return JSONResponse(to_json(jobs.show(service, project, number)))


@ROUTER.delete("/jobs/{number}", responses=documented([401, 403, 404, 409, 422]))
def cancel(project: ProjectName, number: Number, service: ServiceOf, caller: Submitter) -> Any:
    return JSONResponse(to_json(jobs.cancel(service, caller, project, number)))


@ROUTER.get("/workers", responses=documented([401, 403, 404, 422]))
def workers(project: ProjectName, service: ServiceOf, caller: Reader) -> Any:
    return JSONResponse(to_json(jobs.workers(service, project)))
