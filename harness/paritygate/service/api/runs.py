"""Runs of a project: a list, one, its files; keeping one from being pruned."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from paritygate.service import prune, queries
from paritygate.service.access import Approver, Reader
from paritygate.service.answers import LIMITS, After, InProject, Limit, OfRun, Text, answer, described, page
from paritygate.service.app import ServiceOf
from paritygate.service.folders import RUN_FILES, Folders
from paritygate.service.problems import documented
from paritygate.service.sandbox import KEPT, policy_of
from paritygate.service.summaries import Paged, RunSummary

ROUTER = APIRouter(prefix="/api/projects/{project}", tags=["runs"])
_TYPES = {"json": "application/json", "jsonl": "application/jsonl", "html": "text/html"}


class NewPin(BaseModel):
    """What `PUT .../pin` is given."""

    reason: Annotated[str, Field(min_length=1, max_length=1_000)]


@ROUTER.get("/runs", **described(Paged[RunSummary]))
def list_runs(
    service: ServiceOf,
    caller: Reader,
    project: InProject,
    branch: Text = "",
    commit: Text = "",
    platform: Text = "",
    verdict: Text = "",
    suite: Text = "",
    pull_request: Text = "",
    limit: Limit = 100,
    after: After = "",
) -> Response:
    """The last one first. `commit` is how a commit begins; all others are whole names."""
    filter = queries.RunFilter(branch, commit, platform, verdict, suite, pull_request)
    return answer(queries.runs(service, project, filter, page(limit, after)))


@ROUTER.get("/runs/{run}", **described(RunSummary))
def get_run(service: ServiceOf, caller: Reader, project: InProject, run: OfRun) -> Response:
    """One run, as it was judged where it ran."""
    return answer(queries.run(service, project, run))


_A_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the file", "content": {kind: {"schema": {"type": "string"}} for kind in _TYPES.values()}},
    206: {"description": "the part of it that was asked for"},
    416: {"description": "there is no such part of it"},
    **documented([401, 403, 404, 422]),
}


@ROUTER.get("/runs/{run}/files/{name}", response_class=FileResponse, responses=_A_FILE)
def get_file(
    service: ServiceOf,
    caller: Reader,
    project: InProject,
    run: OfRun,
    name: Annotated[str, Path(description=f"One of {', '.join(RUN_FILES)}.", max_length=LIMITS.text)],
) -> Response:
    """A file of the run's folder, as it was uploaded."""
    path = Folders(service.config).file(project, queries.run(service, project, run).name, name)
    policy = policy_of(path) if path.name == "report.html" else KEPT
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=_TYPES[path.suffix.removeprefix(".")], headers=headers)


@ROUTER.put("/runs/{run}/pin", **described(RunSummary))
def pin_run(service: ServiceOf, caller: Approver, project: InProject, run: OfRun, new: NewPin) -> Response:
    """Keeps the run from being pruned."""
    return answer(prune.pin(service, caller, project, run, new.reason))


@ROUTER.delete("/runs/{run}/pin", **described(RunSummary))
def unpin_run(service: ServiceOf, caller: Approver, project: InProject, run: OfRun) -> Response:
    """Lets the run be pruned again."""
    return answer(prune.unpin(service, caller, project, run))
