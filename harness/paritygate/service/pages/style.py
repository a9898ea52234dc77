"""The one style sheet of the pages, at an address that changes with it."""

from fastapi import APIRouter, Response

from paritygate.service.problems import NotFound
from paritygate.service.rendering import style, style_address

ROUTER = APIRouter(include_in_schema=False)


@ROUTER.get("/static/{name}")
def sheet(name: str) -> Response:
    if f"/static/{name}" != style_address():
        raise NotFound("no such file", where="static")
    return Response(style(), media_type="text/css", headers={"Cache-Control": "public, max-age=31536000, immutable"})
