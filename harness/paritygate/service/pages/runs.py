"""The runs of a project, the newest first."""

from dataclasses import dataclass

from fastapi import APIRouter

from paritygate.service import queries
from paritygate.service.access import Reader
from paritygate.service.answers import After, InProject, Text
from paritygate.service.app import ServiceOf
from paritygate.service.page import page
from paritygate.service.queries import RunFilter
from paritygate.service.summaries import VERDICTS, Page, RunSummary

ROUTER = APIRouter()
_RUNS, RECENT = 50, 44


@dataclass(frozen=True)
class RunsView:
    """`recent` are the last runs, of the branch that is asked for; `verdicts` the words that a run may end with."""

    filter: RunFilter
    verdicts: tuple[str, ...]
    recent: tuple[RunSummary, ...]
    runs: tuple[RunSummary, ...]
    after: str
    next: str


@page(ROUTER, "/projects/{project}/runs", "runs.html.j2", 404)
def runs(
    project: InProject,
    service: ServiceOf,
    caller: Reader,
    branch: Text = "",
    commit: Text = "",
    platform: Text = "",
    verdict: Text = "",
    suite: Text = "",
    pull_request: Text = "",
    after: After = "",
) -> RunsView:
    """Runs, those of a branch, a commit (or its beginning), a platform, a verdict, a suite, a pull request."""
    filter = RunFilter(branch, commit, platform, verdict, suite, pull_request)
    found = queries.runs(service, project, filter, Page(_RUNS, after))
    recent = queries.runs(service, project, RunFilter(branch=branch), Page(RECENT))
    return RunsView(filter, VERDICTS, recent.items, found.items, after, found.next)
