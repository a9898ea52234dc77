"""Projects: which there are, and a new one."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from paritygate.service import index, queries
from paritygate.service.access import Admin, Reader
from paritygate.service.answers import After, Limit, answer, described, page
from paritygate.service.app import ServiceOf
from paritygate.service.folders import PROJECT_NAME
from paritygate.service.summaries import Paged, ProjectSummary

ROUTER = APIRouter(prefix="/api", tags=["projects"])


class NewProject(BaseModel):
    """What `POST /api/projects` is given."""

    name: Annotated[str, Field(pattern=f"^{PROJECT_NAME}$", max_length=64)]


@ROUTER.get("/projects", **described(Paged[ProjectSummary], (401, 403, 422)))
def list_projects(service: ServiceOf, caller: Reader, limit: Limit = 100, after: After = "") -> Response:
    """Those that the token may read, by name."""
    return answer(queries.projects(service, caller, page(limit, after)))


@ROUTER.post("/projects", **described(ProjectSummary, (401, 403, 409, 422), 201))
def create_project(service: ServiceOf, caller: Admin, new: NewProject) -> Response:
    """A new project, empty."""
    return answer(index.create_project(service, new.name, caller), 201)
