"""`/api/projects/P/uploads`: a run folder in pieces, gone on with where the connection was lost."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from paritygate.core.codec import to_json
from paritygate.core.run_files import RUN_FILES
from paritygate.service import uploads
from paritygate.service.access import Submitter
from paritygate.service.app import ServiceOf
from paritygate.service.folders import RUN_NAME, FileHash
from paritygate.service.guard import reads
from paritygate.service.problems import Refused, Unsupported, documented
from paritygate.service.receiving import SLACK_BYTES
from paritygate.service.uploads import Manifest, State

ROUTER = APIRouter(prefix="/api/projects/{project}/uploads", tags=["uploads"])
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_KIND = "application/octet-stream"
_BYTES = {"type": "string", "format": "binary"}
_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_FILE = {"type": "object", "properties": {"name": _TEXT, "have": _COUNT}, "required": ["name", "have"]}
_RUN = {"type": "object", "properties": {"name": _TEXT, "verdict": _TEXT}, "required": ["name", "verdict"]}
_STATE = {
    "type": "object",
    "properties": {
        "upload": _TEXT,
        "run": _TEXT,
        "files": {"type": "array", "items": _FILE},
        "there": {"anyOf": [_RUN, {"type": "null"}]},
    },
    "required": ["upload", "run", "files", "there"],
}
_REFUSALS = documented([401, 403, 404, 409, 413, 415, 429, 507])


class File(BaseModel):
    """One file of a run folder."""

    model_config = ConfigDict(extra="forbid")
    name: Literal[RUN_FILES]  # type: ignore[valid-type]
    size: int = Field(ge=0, le=1 << 53)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Asked(BaseModel):
    """A run folder that somebody wants to send, and where it is from."""

    model_config = ConfigDict(extra="forbid")
    run: str = Field(pattern=f"^{RUN_NAME}$")
    files: list[File] = Field(max_length=len(RUN_FILES))
    branch: str = Field("", max_length=256, pattern=_PLAIN)
    commit: str = Field("", max_length=64, pattern=_PLAIN)
    pull_request: str = Field("", max_length=32, pattern=_PLAIN)


def _json(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _said(state: State, status: int = 200) -> JSONResponse:
    files = [{"name": name, "have": have} for name, have in state.have.items()]
    said = {"upload": state.upload, "run": state.run, "files": files, "there": to_json(state.there)}
    return JSONResponse(said, status)


@ROUTER.post("", response_model=None, responses={200: _json(_STATE, "how far it is"), **_REFUSALS})
def begin(service: ServiceOf, caller: Submitter, project: str, asked: Asked) -> JSONResponse:
    """Begins an upload, or goes on with one of the same content. `there` is the run, where it is there already."""
    files = {each.name: FileHash(each.size, each.sha256) for each in asked.files}
    if len(files) != len(asked.files):
        raise Refused("file is named twice", where="files")
    manifest = Manifest(asked.run, files, asked.branch, asked.commit, asked.pull_request)
    return _said(uploads.begin(service, caller, project, manifest))


@ROUTER.get(
    "/{id}", response_model=None, responses={200: _json(_STATE, "how far it is"), **documented([401, 403, 404])}
)
def state(service: ServiceOf, caller: Submitter, project: str, id: str) -> JSONResponse:
    """How far each file is: where to go on."""
    return _said(uploads.state(service, project, id))


@ROUTER.put(
    "/{id}/files/{name}",
    response_model=None,
    responses={200: _json(_FILE, "how far it is now"), **_REFUSALS},
    openapi_extra={"requestBody": {"content": {_KIND: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def send(
    request: Request,
    service: ServiceOf,
    caller: Submitter,
    project: str,
    id: str,
    name: str,
    upload_offset: Annotated[int, Header(ge=0, le=1 << 53)],
    content_encoding: Annotated[Literal["identity", "gzip"], Header()] = "identity",
) -> JSONResponse:
    """The bytes of a file from an offset on, which is how far it is. What came of a body that breaks off is kept.

    With `Content-Encoding: gzip` the body is packed by itself; the offset counts unpacked bytes.
    """
    if (kind := request.headers.get("content-type", _KIND)) != _KIND:
        raise Unsupported(
            "bytes of one file, and no archive or form", where="Content-Type", expected=_KIND, got=ascii(kind[:80])
        )
    part = await run_in_threadpool(uploads.part, service, project, id, name, upload_offset, content_encoding)
    reads(request, part.size + SLACK_BYTES)
    before = part.have
    try:
        async for piece in request.stream():
            await run_in_threadpool(part.write, piece)
    finally:
        request.app.state.metrics.bytes.inc(part.have - before)
        await run_in_threadpool(part.close)
    return JSONResponse({"name": name, "have": part.have})


@ROUTER.post("/{id}/finish", response_model=None, responses={200: _json(_RUN, "the run in its project"), **_REFUSALS})
def finish(request: Request, service: ServiceOf, caller: Submitter, project: str, id: str) -> JSONResponse:
    """Checks all that came, and makes it a run of the project."""
    found = uploads.finish(service, caller, project, id)
    request.app.state.metrics.uploads.inc()
    return JSONResponse(to_json(found))
