"""Jobs of a project, and who works at them. What is under way is shown anew every few seconds."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import RedirectResponse

from paritygate.service import jobs as queue
from paritygate.service.access import Form, Reader, Submitter
from paritygate.service.answers import After, InProject
from paritygate.service.app import ServiceOf
from paritygate.service.jobs import JobSummary, WorkerSummary
from paritygate.service.page import page
from paritygate.service.summaries import Page
from paritygate.service.words import url

ROUTER = APIRouter()
_JOBS, _AGAIN_S = 50, 5
Refresh = Annotated[Literal["", "off"], Query()]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class JobsView:
    jobs: tuple[JobSummary, ...]
    workers: tuple[WorkerSummary, ...]
    refresh_s: int
    after: str
    next: str


@dataclass(frozen=True)
class JobView:
    job: JobSummary
    may_cancel: bool
    refresh_s: int


@page(ROUTER, "/projects/{project}/jobs", "jobs.html.j2", 404)
def jobs(project: InProject, service: ServiceOf, caller: Reader, after: After = "", refresh: Refresh = "") -> JobsView:
    """The newest first, and the workers that asked for work in the last day."""
    found = queue.jobs(service, project, Page(_JOBS, after))
    workers = tuple(queue.workers(service, project))
    return JobsView(found.items, workers, _again(found.items, refresh), after, found.next)


@page(ROUTER, "/projects/{project}/jobs/{number}", "job.html.j2", 404)
def job(project: InProject, number: Number, service: ServiceOf, caller: Reader, refresh: Refresh = "") -> JobView:
    """What was asked for, and how far each task of it is."""
    found = queue.show(service, project, number)
    may = caller.may("submit", project) and found.state in ("queued", "running")
    return JobView(found, may, _again((found,), refresh))


@ROUTER.post("/projects/{project}/jobs/{number}/cancel", include_in_schema=False)
def cancel(form: Form, project: InProject, number: Number, service: ServiceOf, caller: Submitter) -> RedirectResponse:
    queue.cancel(service, caller, project, number)
    return RedirectResponse(url("projects", project, "jobs", number), 303)


def _again(shown: tuple[JobSummary, ...], refresh: str) -> int:
    is_under_way = any(each.state in ("queued", "running") for each in shown)
    return _AGAIN_S if is_under_way and refresh != "off" else 0
