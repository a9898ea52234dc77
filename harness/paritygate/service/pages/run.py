"""One run: what the gate says of it by the baseline of its project, where it fails, and what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from paritygate.core.drift import Diagnosis
from paritygate.core.errors import UsageError
from paritygate.service import prune, queries
from paritygate.service.access import Approver, Form, Reader
from paritygate.service.answers import InProject, OfRun
from paritygate.service.app import Service, ServiceOf
from paritygate.service.cells import CellCount, cells
from paritygate.service.folders import LOCAL, RUN_FILES, Folders, Pin, arrival_of, pin_of
from paritygate.service.gating import GateAnswer, gate
from paritygate.service.page import page
from paritygate.service.problems import status_of
from paritygate.service.queries import RunFilter
from paritygate.service.summaries import Page, RowSummary, RunSummary
from paritygate.service.words import url

ROUTER = APIRouter()
_WORST, _LOOKED_AT = 12, 200


@dataclass(frozen=True)
class FileLine:
    """A file of the run; no `sha256` where nobody sent it."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class RunView:
    """`gate` is None of a run that no gate can judge, and `ungated` then says why.

    `before` is the run before it, on its branch or else on any, empty without one; `worst` are the rows that use most
    of their budgets, those first that are not bad because of another.
    """

    run: RunSummary
    gate: GateAnswer | None
    ungated: tuple[str, ...]
    before: str
    cells: tuple[CellCount, ...]
    worst: tuple[RowSummary, ...]
    files: tuple[FileLine, ...]
    has_report: bool
    pin: Pin | None
    may: Mapping[str, bool]


@page(ROUTER, "/projects/{project}/runs/{run}", "run.html.j2", 404)
def run(project: InProject, run: OfRun, service: ServiceOf, caller: Reader) -> RunView:
    """A run by its name, or `latest`, or `latest:BRANCH`."""
    found = queries.run(service, project, run)
    judged, why_not = _gated(service, project, found.name)
    folder = Folders(service.config).run(project, found.name)
    files = _files(service, project, found.name)
    may = project != LOCAL and caller.may("approve", project)
    return RunView(
        found,
        judged,
        why_not,
        _before(service, project, found),
        cells(service, project, found.name),
        _worst(service, project, found.name),
        files,
        any(file.name == "report.html" for file in files),
        pin_of(folder),
        {"approve": may and judged is not None, "pin": may},
    )


def _before(service: Service, project: str, run: RunSummary) -> str:
    """The first run of a branch is compared with what the project had before it."""
    for filter in (RunFilter(branch=run.branch), RunFilter()):
        if earlier := queries.runs(service, project, filter, Page(1, str(run.number))).items:
            return earlier[0].name
    return ""


def _gated(service: Service, project: str, run: str) -> tuple[GateAnswer | None, tuple[str, ...]]:
    try:
        return gate(service, project, run), ()
    except UsageError as reason:
        if status_of(reason) != 422:
            raise
        return None, tuple(filter(None, (reason.what, reason.got, reason.try_)))


def _worst(service: Service, project: str, run: str) -> tuple[RowSummary, ...]:
    rows = queries.rows(service, project, run, order="share", page=Page(_LOOKED_AT)).items
    return tuple(sorted(rows, key=lambda row: row.diagnosis == Diagnosis.PROPAGATED)[:_WORST])


@ROUTER.post("/projects/{project}/runs/{run}/pin", include_in_schema=False)
def pin(form: Form, project: InProject, run: OfRun, service: ServiceOf, caller: Approver) -> RedirectResponse:
    prune.pin(service, caller, project, run, form.get("reason", ""))
    return RedirectResponse(url("projects", project, "runs", run), 303)


@ROUTER.post("/projects/{project}/runs/{run}/unpin", include_in_schema=False)
def unpin(form: Form, project: InProject, run: OfRun, service: ServiceOf, caller: Approver) -> RedirectResponse:
    prune.unpin(service, caller, project, run)
    return RedirectResponse(url("projects", project, "runs", run), 303)


def _files(service: Service, project: str, run: str) -> tuple[FileLine, ...]:
    folder = Folders(service.config).run(project, run)
    if (folder / "upload.json").is_file():
        return tuple(FileLine(name, each.bytes, each.sha256) for name, each in sorted(arrival_of(folder).files.items()))
    there = [folder / name for name in sorted(RUN_FILES)]
    return tuple(FileLine(path.name, path.stat().st_size, "") for path in there if path.is_file())
