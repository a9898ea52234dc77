"""Answers: plain data as JSON, and how OpenAPI describes it.

Not checked by pydantic on the way out, which would cost more than the read: the types say what is in them, and the
schema is made of the same types. orjson takes dataclasses as they are, in a fifth of the time of json.
"""

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import orjson
from fastapi import Path, Query
from pydantic import TypeAdapter
from starlette.responses import Response

from paritygate.service.config import Limits
from paritygate.service.folders import PROJECT_NAME
from paritygate.service.problems import documented
from paritygate.service.summaries import Page

LIMITS = Limits()

InProject = Annotated[str, Path(description="A project.", pattern=f"^{PROJECT_NAME}$", max_length=64)]
_OF_RUN = "A run, `latest`, or `latest:BRANCH`, with `~` for each `/` of the branch."
OfRun = Annotated[str, Path(description=_OF_RUN, min_length=1, max_length=LIMITS.text)]
Limit = Annotated[int, Query(description="How many at most.", ge=1, le=LIMITS.page_rows)]
After = Annotated[str, Query(description="`next` of the answer before.", max_length=LIMITS.text)]
Text = Annotated[str, Query(max_length=LIMITS.text)]


def answer(value: object, status: int = 200) -> Response:
    return Response(_text(value), status, media_type="application/json")


def line(value: object) -> bytes:
    """One line of JSON lines."""
    return _text(value) + b"\n"


def _text(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # half of a surrogate pair, or a number of more than 64 bits, in what a run says
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """What json does not know: a noun, as an object of its fields."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} is no plain data")


def described(cls: Any, refusals: Iterable[int] = (401, 403, 404, 422), status: int = 200) -> dict[str, Any]:
    """A route's arguments: its answer, and what it may refuse with."""
    content = {"application/json": {"schema": schema(cls)}}
    responses = {status: {"description": "the answer", "content": content}, **documented(refusals)}
    return {"response_model": None, "responses": responses, "status_code": status}


def schema(cls: Any) -> dict[str, Any]:
    """The JSON schema of a type, in one piece."""
    found = TypeAdapter(cls).json_schema(mode="serialization")
    return _inlined(found, found.pop("$defs", {}))


def _inlined(value: Any, defined: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if reference := value.get("$ref"):
            return _inlined(defined[reference.rpartition("/")[2]], defined)
        return {key: _inlined(each, defined) for key, each in value.items()}
    return [_inlined(each, defined) for each in value] if isinstance(value, list) else value


def page(limit: int, after: str) -> Page:
    return Page(limit, after)
