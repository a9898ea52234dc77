"""Jobs of a project: asked for by names of the catalog, listed, taken back; and who works at them."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from paritygate.service import jobs
from paritygate.service.access import Reader, Submitter
from paritygate.service.answers import After, InProject, Limit, answer, described, page
from paritygate.service.app import ServiceOf
from paritygate.service.jobs import JobSummary, WorkerSummary
from paritygate.service.summaries import Paged

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["jobs"])
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


@ROUTER.post("/jobs", **described(JobSummary, (401, 403, 404, 413, 422, 429), 201))
def request(project: InProject, asked: Request, service: ServiceOf, caller: Submitter) -> Response:
    """Asks for a replay; it is split into a task a platform."""
    given = asked.model_dump()
    named = {name: given[name] for name in ("suite", "cells", "mode", "revision", "branch")}
    made = jobs.Asked(cases=tuple(asked.cases), labels=tuple(asked.labels), **named)
    return answer(jobs.request(service, caller, project, made), 201)


@ROUTER.get("/jobs", **described(Paged[JobSummary]))
def list_(project: InProject, service: ServiceOf, caller: Reader, limit: Limit = 100, after: After = "") -> Response:
    """The latest first."""
    return answer(jobs.jobs(service, project, page(limit, after)))


@ROUTER.get("/jobs/{number}", **described(JobSummary))
def show(project: InProject, number: Number, service: ServiceOf, caller: Reader) -> Response:
    """A job, its tasks, and how far each is."""
    return answer(jobs.show(service, project, number))


@ROUTER.delete("/jobs/{number}", **described(JobSummary, (401, 403, 404, 409, 422)))
def cancel(project: InProject, number: Number, service: ServiceOf, caller: Submitter) -> Response:
    """Takes a job back: nothing of it begins any more, and who is at it stops."""
    return answer(jobs.cancel(service, caller, project, number))


@ROUTER.get("/workers", **described(list[WorkerSummary]))
def workers(project: InProject, service: ServiceOf, caller: Reader) -> Response:
    """Who asked for work in the last day, and may take that of the project."""
    return answer(jobs.workers(service, project))
