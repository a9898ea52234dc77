"""`/api/goldens/`: what `golden pull` reads, the layout of the folder of goldens on this machine."""

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from paritygate.service.access import who
from paritygate.service.app import ServiceOf
from paritygate.service.problems import Forbidden, NotFound, Unauthorized, documented
from paritygate.store.golden import GoldenStore
from paritygate.store.served import page_of, served_file

ROUTER = APIRouter(prefix="/api/goldens", tags=["goldens"])
_RANGES = {206: {"description": "the part that was asked for"}, 416: {"description": "there is no such part"}}


@ROUTER.get("/{path:path}", response_class=Response, responses={**_RANGES, **documented([401, 403, 404])})
def golden(request: Request, service: ServiceOf, path: str) -> Response:
    """An object or a manifest; of a folder the page of links that stands for it. For workers, and whoever may read."""
    caller = who(request)
    if caller is None:
        raise Unauthorized("a token is needed", expected="Authorization: Bearer pgt_...")
    if not (caller.may("read") or caller.may("work")):
        raise Forbidden("not allowed", where="/api/goldens", expected="scope read or work", got=caller.name)
    store, folder = GoldenStore(service.config.golden), path.removesuffix("/")
    if path in ("", f"{folder}/") and (page := page_of(store, folder)) is not None:
        return HTMLResponse(page)
    if (file := served_file(store, path)) is None:
        raise NotFound("no such golden", where=ascii(path[:128]))
    return FileResponse(file, media_type="application/octet-stream")
