"""Frozen dataclasses to JSON values and back, strictly: unknown keys, missing keys and wrong types are refused."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from paritygate.core.errors import UsageError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Turns a noun, or a container of nouns, into plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    return value


def from_json(cls: type[T], data: Any, where: str = "") -> T:
    """Builds `cls` (a dataclass, or a type such as `tuple[Port, ...]`) from plain JSON values.

    Raises UsageError that names the path of the first value that does not fit.
    """
    return _decode(cls, data, where or getattr(cls, "__name__", str(cls)))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _refuse(where: str, expected: str, got: Any) -> UsageError:
    return UsageError("value does not fit", where=where, expected=expected, got=f"{type(got).__name__} {got!r:.80}")


def _decode(hint: Any, data: Any, where: str) -> Any:
    if hint is Any:
        return data
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        wanted = [arg for arg in args if arg is not type(None)]
        if len(wanted) == 1:
            return _decode(wanted[0], data, where)
        for arg in wanted:
            try:
                return _decode(arg, data, where)
            except UsageError:
                continue
        raise _refuse(where, str(hint), data)
    if origin is typing.Literal:
        if data not in args:
            raise _refuse(where, " or ".join(map(repr, args)), data)
        return data
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise _refuse(where, "a list", data)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode(args[0], v, f"{where}[{i}]") for i, v in enumerate(data))
        if len(data) != len(args):
            raise _refuse(where, f"a list of {len(args)}", data)
        return tuple(_decode(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, data, strict=True)))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise _refuse(where, "an object", data)
        return {_decode(args[0], k, where): _decode(args[1], v, f"{where}.{k}") for k, v in data.items()}
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(typing.cast(type, hint), data, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(data)
        except ValueError:
            raise _refuse(where, " or ".join(str(m.value) for m in hint), data) from None
    if not isinstance(hint, type) or origin is not None:
        raise TypeError(f"{where}: JSON of {hint} is not known to this codec")
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise _refuse(where, "a float", data) from None
    if not isinstance(data, hint) or (hint is int and isinstance(data, bool)):
        raise _refuse(where, hint.__name__, data)
    return data


def _decode_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _refuse(where, "an object", data)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(fields), key=str):
        raise UsageError(
            "unknown keys", where=where, expected=", ".join(sorted(fields)), got=", ".join(map(str, unknown))
        )
    hints, values = _hints(cls), {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UsageError("missing key", where=f"{where}.{name}")
    return cls(**values)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN, so that equal values hash equal."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def readable(value: Any) -> str:
    """Canonical JSON laid out for review: sorted keys, one key a line, a trailing newline."""
    return json.dumps(to_json(value), sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
