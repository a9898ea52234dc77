"""A run's report, and its files. A report is a page that somebody sent: it is opened where it can reach nothing."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import InProject, OfRun
from paritygate.service.app import ServiceOf
from paritygate.service.folders import Folders
from paritygate.service.problems import documented
from paritygate.service.sandbox import KEPT, policy_of

ROUTER = APIRouter(include_in_schema=False)


@ROUTER.get("/projects/{project}/runs/{run}/report", responses=documented([401, 403, 404, 422]))
def report(project: InProject, run: OfRun, service: ServiceOf, caller: Reader) -> FileResponse:
    path = Folders(service.config).file(project, queries.run(service, project, run).name, "report.html")
    return FileResponse(
        path, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy_of(path)}
    )


@ROUTER.get("/projects/{project}/runs/{run}/files/{name}", responses=documented([401, 403, 404, 422]))
def file(
    project: InProject, run: OfRun, name: Annotated[str, Path(max_length=64)], service: ServiceOf, caller: Reader
) -> FileResponse:
    """To be kept, never to be shown: whatever it holds, no browser takes it for a page."""
    run = queries.run(service, project, run).name
    path = Folders(service.config).file(project, run, name)
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=f"{run}-{name}",
        headers={"Content-Security-Policy": KEPT},
    )
