"""What workers ask: a task, to keep it, and to send what comes of it. A token of one project gets its tasks only."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from paritygate.service import leases, tasks
from paritygate.service.access import who
from paritygate.service.answers import answer, described, schema
from paritygate.service.app import ServiceOf
from paritygate.service.folders import FileHash
from paritygate.service.jobs import LABEL, NAME, REVISION
from paritygate.service.problems import Forbidden, TooLarge, Unauthorized, documented
from paritygate.service.tokens import Caller

ROUTER = APIRouter(prefix="/api/work", tags=["work"])
_MOST = 2**63 - 1


def _worker(request: Request) -> Caller:
    """Whoever has the scope `work`, in all projects or in one: which one its task says, and not the path."""
    caller = who(request)
    if caller is None:
        raise Unauthorized("a token is needed", expected="Authorization: Bearer pgt_...")
    if not caller.may("work", caller.project):
        raise Forbidden("not allowed", where=request.url.path, expected="scope work", got=caller.name)
    return caller


Worker = Annotated[Caller, Depends(_worker)]
Number = Annotated[int, Path(ge=1, le=_MOST)]
Lease = Annotated[str, Header(alias="Paritygate-Lease", pattern="^[0-9a-f]{32}$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Query(max_length=64)]
Label = Annotated[str, Field(pattern=f"^{LABEL}$")]
SuiteName = Annotated[str, Field(pattern=f"^{NAME}$")]
Revision = Annotated[str, Field(pattern=f"^{REVISION}$")]
Text = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Count = Annotated[int, Field(ge=0, le=_MOST)]
_REFUSALS = [401, 403, 404, 409, 413, 422]
_BYTES = {"type": "string", "format": "binary"}


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Offer(Asked):
    """A worker, and what it can do: of each revision that it has the suites of its catalog."""

    worker: Annotated[str, Field(pattern=f"^{NAME}$")]
    labels: Annotated[list[Label], Field(max_length=32)]
    revisions: Annotated[dict[Revision, Annotated[list[SuiteName], Field(max_length=256)]], Field(max_length=32)]
    versions: Annotated[dict[Text, Text], Field(max_length=32)] = {}


class Progress(Asked):
    """How far a task is: what it is at, and how many values of how many are there."""

    phase: Text = ""
    cell: Text = ""
    case: Text = ""
    values: Count = 0
    of: Count = 0


class Reason(Asked):
    reason: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class FileSent(Asked):
    bytes: Count
    sha256: Hash


class End(Asked):
    """The exit code of the run, and its files as the worker has them."""

    exit_code: Annotated[int, Field(ge=0, le=255)]
    files: Annotated[dict[Annotated[str, Field(max_length=64)], FileSent], Field(max_length=32)]


_LEASED = {"description": "a task", "content": {"application/json": {"schema": schema(leases.Leased)}}}


@ROUTER.post(
    "/lease",
    response_model=None,
    responses={200: _LEASED, 204: {"description": "nothing to do"}, **documented([401, 403, 409, 413, 422])},
)
def lease(offer: Offer, service: ServiceOf, caller: Worker) -> Response:
    """A task that the worker can do, and the right to it for a while."""
    revisions = {name: tuple(suites) for name, suites in offer.revisions.items()}
    made = leases.Offer(offer.worker, tuple(offer.labels), revisions, offer.versions)
    given = leases.lease(service, caller, made)
    return answer(given) if given else Response(status_code=204)


@ROUTER.post("/tasks/{number}/heartbeat", **described(leases.Beat, _REFUSALS))
def heartbeat(number: Number, key: Lease, progress: Progress, service: ServiceOf, caller: Worker) -> Response:
    """Keeps the lease; says whether somebody still wants the task."""
    said = progress.model_dump(exclude_unset=True)
    return answer(leases.heartbeat(service, caller, number, key, said))


@ROUTER.post("/tasks/{number}/give-back", status_code=204, responses=documented(_REFUSALS))
def give_back(number: Number, key: Lease, service: ServiceOf, caller: Worker) -> Response:
    """Another worker may go on at once."""
    leases.give_back(service, caller, number, key)
    return Response(status_code=204)


@ROUTER.post("/tasks/{number}/fail", status_code=204, responses=documented(_REFUSALS))
def fail(number: Number, key: Lease, why: Reason, service: ServiceOf, caller: Worker) -> Response:
    """The task has no run, and this is why."""
    leases.fail(service, caller, number, key, why.reason)
    return Response(status_code=204)


@ROUTER.get("/tasks/{number}/files", **described(tasks.Kept, _REFUSALS))
def files(number: Number, key: Lease, service: ServiceOf, caller: Worker) -> Response:
    """What is here from an earlier worker, to go on with."""
    return answer(tasks.kept(service, caller, number, key))


@ROUTER.get(
    "/tasks/{number}/content",
    response_class=FileResponse,
    response_model=None,
    responses={200: {"content": {"application/octet-stream": {}}}, **documented(_REFUSALS)},
)
def content(number: Number, key: Lease, name: FileName, service: ServiceOf, caller: Worker) -> Response:
    """A file of an earlier worker."""
    path = tasks.content(service, caller, number, key, name)
    return FileResponse(path, media_type="application/octet-stream", filename=name)


async def _sent(request: Request, service: ServiceOf) -> bytes:
    """The body, never more of it than a request may have."""
    limit, read = service.config.limits.body_bytes, bytearray()
    async for some in request.stream():
        read += some
        if len(read) > limit:
            raise TooLarge("piece is too large", expected=f"at most {limit:,} bytes")
    return bytes(read)


@ROUTER.put(
    "/tasks/{number}/content",
    status_code=204,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {"schema": _BYTES}}}},
    responses=documented([*_REFUSALS, 412]),
)
def put(
    number: Number,
    key: Lease,
    name: FileName,
    way: Annotated[tasks.Way, Query()],
    offset: Annotated[int, Query(ge=0, le=_MOST)],
    size: Annotated[int, Query(ge=0, le=_MOST)],
    sha256: Annotated[str, Query(pattern="^[0-9a-f]{64}$")],
    sent: Annotated[bytes, Depends(_sent)],
    service: ServiceOf,
    caller: Worker,
) -> Response:
    """A piece of a file: `way` is `add` to a file that grows, or `replace`, and then the last piece makes it whole."""
    tasks.put(service, caller, number, key, tasks.Piece(name, way, offset, size, sha256, sent))
    return Response(status_code=204)


@ROUTER.post("/tasks/{number}/begin-anew", status_code=204, responses=documented(_REFUSALS))
def begin_anew(number: Number, key: Lease, why: Reason, service: ServiceOf, caller: Worker) -> Response:
    """Drops what is here of the task, and says why."""
    tasks.begin_anew(service, caller, number, key, why.reason)
    return Response(status_code=204)


@ROUTER.post("/tasks/{number}/finish", **described(dict[str, str], [*_REFUSALS, 412]))
def finish(number: Number, key: Lease, end: End, service: ServiceOf, caller: Worker) -> Response:
    """The folder of the task becomes a run of its project; asked again, the same answer."""
    sent = {name: FileHash(each.bytes, each.sha256) for name, each in end.files.items()}
    return answer({"run": tasks.finish(service, caller, number, key, end.exit_code, sent)})
