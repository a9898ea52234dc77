"""`/metrics`: what Prometheus asks for."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from paritygate.service.access import Reader
from paritygate.service.problems import Forbidden, documented

ROUTER = APIRouter(tags=["health"])


@ROUTER.get("/metrics", response_class=Response, responses=documented([401, 403]))
def metrics(request: Request, caller: Reader) -> Response:
    """In Prometheus' text format; of all projects, so that a token of one project is refused."""
    if caller.project:
        raise Forbidden("metrics are of all projects", got=f"a token of {caller.project}")
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)
