"""Every change, by whom: for admins."""

from dataclasses import dataclass

from fastapi import APIRouter

from paritygate.service.access import Admin
from paritygate.service.answers import After
from paritygate.service.api.audit import Text
from paritygate.service.app import ServiceOf
from paritygate.service.audit import Noted, noted
from paritygate.service.page import page
from paritygate.service.problems import NotFound
from paritygate.service.queries import whole

ROUTER = APIRouter()
_LINES = 100


@dataclass(frozen=True)
class AuditView:
    project: str
    who: str
    action: str
    lines: tuple[Noted, ...]
    after: str
    next: str


@page(ROUTER, "/audit", "audit.html.j2", 404)
def audit(
    service: ServiceOf, caller: Admin, project: Text = "", who: Text = "", action: Text = "", after: After = ""
) -> AuditView:
    """The newest first. An admin of one project sees the changes of that project."""
    if caller.project and project not in ("", caller.project):
        raise NotFound("no such project", where=project)
    behind = whole(after) if after else None
    found, following = noted(service.engine, caller.project or project, who, action, _LINES, behind)
    return AuditView(project, who, action, tuple(found), after, "" if following is None else str(following))
