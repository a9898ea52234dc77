"""Projects, each with how its last runs went; where the site begins."""

from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from paritygate.service import index, queries
from paritygate.service.access import Admin, Form, Reader
from paritygate.service.answers import After, InProject
from paritygate.service.app import ServiceOf
from paritygate.service.page import page
from paritygate.service.summaries import Page, ProjectSummary, RunSummary
from paritygate.service.words import url

ROUTER = APIRouter()
_PROJECTS, RECENT = 24, 30


@dataclass(frozen=True)
class ProjectLine:
    """A project and its last runs, the newest first."""

    project: ProjectSummary
    recent: tuple[RunSummary, ...]


@dataclass(frozen=True)
class ProjectsView:
    projects: tuple[ProjectLine, ...]
    may_create: bool
    after: str
    next: str


@page(ROUTER, "/projects", "projects.html.j2")
def projects(service: ServiceOf, caller: Reader, after: After = "") -> ProjectsView:
    """The projects that the caller may read, by name."""
    found = queries.projects(service, caller, Page(_PROJECTS, after))
    lines = [
        ProjectLine(each, queries.runs(service, each.name, page=Page(RECENT)).items if each.runs else ())
        for each in found.items
    ]
    return ProjectsView(tuple(lines), caller.may("admin") and not caller.project, after, found.next)


@ROUTER.post("/projects", include_in_schema=False)
def create(form: Form, service: ServiceOf, caller: Admin) -> RedirectResponse:
    """A new project, and its empty page, which says how the first run comes there."""
    made = index.create_project(service, form.get("name", ""), caller)
    return RedirectResponse(url("projects", made.name, "runs"), 303)


@ROUTER.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    return RedirectResponse(url("projects"), 303)


@ROUTER.get("/projects/{project}", include_in_schema=False)
def project(project: InProject) -> RedirectResponse:
    return RedirectResponse(url("projects", project, "runs"), 303)
