"""A run's report, and its files. A report is a page that somebody sent: it is opened where it can reach nothing."""

import re
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import InProject, OfRun
from paritygate.service.app import ServiceOf
from paritygate.service.folders import Folders
from paritygate.service.problems import documented

ROUTER = APIRouter(include_in_schema=False)
_HEAD_BYTES = 2048  # where the report says which style and script are its own
_HASH = r"'sha256-[A-Za-z0-9+/]{43}='"
_OWN = re.compile(rf"style-src ({_HASH}); script-src ({_HASH});")


@ROUTER.get("/projects/{project}/runs/{run}/report", responses=documented([401, 403, 404, 422]))
def report(project: InProject, run: OfRun, service: ServiceOf, caller: Reader) -> FileResponse:
    """With no origin, so that it has neither cookie nor storage, and with nobody whom it may ask anything.

    Of a report as paritygate writes them only its own style and script are taken, whatever a name in it turns out to
    be; of any other no script.
    """
    path = Folders(service.config).file(project, queries.run(service, project, run).name, "report.html")
    with path.open("rb") as file:
        said = _OWN.search(file.read(_HEAD_BYTES).decode(errors="replace"))
    style, script = said.groups() if said else ("'unsafe-inline'", "'none'")
    policy = (
        f"sandbox allow-scripts; default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )
    return FileResponse(path, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy})


@ROUTER.get("/projects/{project}/runs/{run}/files/{name}", responses=documented([401, 403, 404, 422]))
def file(
    project: InProject, run: OfRun, name: Annotated[str, Path(max_length=64)], service: ServiceOf, caller: Reader
) -> FileResponse:
    """To be kept, never to be shown: whatever it holds, no browser takes it for a page."""
    run = queries.run(service, project, run).name
    path = Folders(service.config).file(project, run, name)
    policy = "sandbox; default-src 'none'"
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=f"{run}-{name}",
        headers={"Content-Security-Policy": policy},
    )
