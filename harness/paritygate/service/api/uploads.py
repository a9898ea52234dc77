"""`/api/projects/P/uploads`: a run folder in pieces, gone on with where the connection was lost."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from paritygate.core.project import FileHash
from paritygate.core.run_files import RUN_FILES, RUN_NAME
from paritygate.service import uploads
from paritygate.service.access import Submitter
from paritygate.service.answers import LIMITS, InProject, answer, described
from paritygate.service.app import ServiceOf
from paritygate.service.guard import reads
from paritygate.service.problems import Refused, Unsupported
from paritygate.service.receiving import SLACK_BYTES
from paritygate.service.summaries import RunSummary
from paritygate.service.uploads import FileState, Manifest, State

ROUTER = APIRouter(prefix="/api/projects/{project}/uploads", tags=["uploads"])
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_KIND = "application/octet-stream"
_BYTES = {"required": True, "content": {_KIND: {"schema": {"type": "string", "format": "binary"}}}}
_STATUSES = (401, 403, 404, 409, 413, 415, 422, 429, 507)


Id = Annotated[str, Path(description="Of an upload under way.", max_length=LIMITS.text)]


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


@ROUTER.post("", **described(State, _STATUSES))
def begin(service: ServiceOf, caller: Submitter, project: InProject, asked: Asked) -> Response:
    """Begins an upload, or goes on with one of the same content. `there` is the run, where it is there already."""
    files = {each.name: FileHash(each.size, each.sha256) for each in asked.files}
    if len(files) != len(asked.files):
        raise Refused("file is named twice", where="files")
    manifest = Manifest(asked.run, files, asked.branch, asked.commit, asked.pull_request)
    return answer(uploads.begin(service, caller, project, manifest))


@ROUTER.get("/{id}", **described(State))
def state(service: ServiceOf, caller: Submitter, project: InProject, id: Id) -> Response:
    """How far each file is: where to go on."""
    return answer(uploads.state(service, project, id))


@ROUTER.put("/{id}/files/{name}", **described(FileState, _STATUSES), openapi_extra={"requestBody": _BYTES})
async def send(
    request: Request,
    service: ServiceOf,
    caller: Submitter,
    project: InProject,
    id: Id,
    name: Annotated[str, Path(max_length=LIMITS.text)],
    upload_offset: Annotated[int, Header(ge=0, le=1 << 53)],
    content_encoding: Annotated[Literal["identity", "gzip"], Header()] = "identity",
) -> Response:
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
    return answer(FileState(name, part.have))


@ROUTER.post("/{id}/finish", **described(RunSummary, _STATUSES))
def finish(request: Request, service: ServiceOf, caller: Submitter, project: InProject, id: Id) -> Response:
    """Checks all that came, and makes it a run of the project."""
    found = uploads.finish(service, caller, project, id)
    request.app.state.metrics.uploads.inc()
    return answer(found)
