"""What the service refuses, and the HTTP status that says so."""

from collections.abc import Iterable
from typing import Any

from paritygate.core.errors import HarnessError, InfrastructureError, UsageError


class Refused(UsageError):
    """A request that is not answered as asked. Subclasses choose the status."""

    status = 422


class Unauthorized(Refused):
    """Nobody is named, or by a token that is not, or no longer, good."""

    status = 401


class Forbidden(Refused):
    """Who asks may not do it."""

    status = 403


class NotFound(Refused):
    """There is no such thing, or none that who asks may see."""

    status = 404


class Conflict(Refused):
    """Things are not as the request takes them to be: a lease that ran out, a run with other content."""

    status = 409


class TooLarge(Refused):
    """More than the service takes."""

    status = 413


class Unsupported(Refused):
    """A kind of content that is not taken."""

    status = 415


class TooMany(Refused):
    """Later, perhaps."""

    status = 429


class Misdirected(Refused):
    """Asked by a name that is none of the service's."""

    status = 421


class Full(Refused):
    """The disk is."""

    status = 507


class Away(InfrastructureError):
    """The database does not answer now. It passes, and nobody who asks is to blame."""

    status = 503


def status_of(reason: HarnessError) -> int:
    """Of an error that is the requester's, or that passes, its own status; of every other one 500."""
    if isinstance(reason, Refused | Away):
        return reason.status
    return 422 if isinstance(reason, UsageError) else 500


def as_json(reason: HarnessError) -> dict[str, Any]:
    """The body of an answer that refuses: `{"error": {"what", "where", "expected", "got", "try"}}`."""
    said = {"what": reason.what, "where": reason.where, "expected": reason.expected, "got": reason.got}
    return {"error": {**said, "try": reason.try_}}


def documented(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """Answers that refuse, as a route's `responses`, so that OpenAPI knows them."""
    text = {"type": "string"}
    words = {name: text for name in ("what", "where", "expected", "got", "try")}
    schema = {
        "type": "object",
        "properties": {"error": {"type": "object", "properties": words, "required": list(words)}},
        "required": ["error"],
    }
    return {each: {"description": "refused", "content": {"application/json": {"schema": schema}}} for each in statuses}
