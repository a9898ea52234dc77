"""Frozen dataclasses to JSON values and back, strictly: unknown keys, missing keys and wrong types are refused."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from paritygate.core.errors import UsageError

T = TypeVar("T")
_PLAIN = frozenset((str, int, float, bool, type(None)))  # themselves in JSON: nearly all of what a run writes


def to_json(value: Any) -> Any:
    """Turns a noun, or a container of nouns, into plain JSON values."""
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    return value


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def said(value: Any) -> Any:
    """As `to_json`, without the fields of a noun that are at their default: a field that is new changes no hash.

    A default that is changed therefore changes no hash either, and must not be.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: said(getattr(value, f.name)) for f in dataclasses.fields(value) if not _at_default(f, value)}
    if isinstance(value, Mapping):
        return {str(k): said(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [said(v) for v in value]
    return to_json(value)


def _at_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return getattr(value, field.name) == field.default_factory()
    return field.default is not dataclasses.MISSING and getattr(value, field.name) == field.default


def from_json(cls: type[T], data: Any, where: str = "") -> T:
    """Builds `cls` (a dataclass, or a type such as `tuple[Port, ...]`) from plain JSON values.

    Raises UsageError that names the path of the first value that does not fit.
    """
    try:
        return _decoder(cls)(data)
    except _Misfit as misfit:
        root = where or getattr(cls, "__name__", str(cls))
        place = root + "".join(reversed(misfit.path))
        raise UsageError(misfit.what, where=place, expected=misfit.expected, got=misfit.got) from None


class _Misfit(Exception):
    """A value that does not fit; `path` grows, innermost part first, while it passes through the decoders."""

    def __init__(self, expected: str, got: Any, what: str = "value does not fit"):
        self.what, self.expected = what, expected
        self.got = got if what != "value does not fit" else f"{type(got).__name__} {got!r:.80}"
        self.path: list[str] = []


Decoder = Callable[[Any], Any]


@cache
def _decoder(hint: Any) -> Decoder:
    """The function that decodes one type. Made once a type: a run has thousands of lines of one type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda data: data
    if origin in (typing.Union, types.UnionType):
        return _union(hint, args)
    if origin is typing.Literal:
        return _checked(lambda data: data in args, " or ".join(map(repr, args)))
    if origin is tuple:
        return _sequence(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*args)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint))
    if not isinstance(hint, type) or origin is not None:
        raise TypeError(f"JSON of {hint} is not known to this codec")
    if issubclass(hint, Enum):
        return _enum(hint)
    if hint is float:
        return _float
    if hint is int:
        return _checked(lambda data: isinstance(data, int) and not isinstance(data, bool), "int")
    return _checked(lambda data: isinstance(data, hint), hint.__name__)


def _checked(fits: Callable[[Any], bool], expected: str) -> Decoder:
    def decode(data: Any) -> Any:
        if not fits(data):
            raise _Misfit(expected, data)
        return data

    return decode


def _float(data: Any) -> float:
    if isinstance(data, float):
        return data
    if isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise _Misfit("a float", data) from None
    raise _Misfit("float", data)


def _enum(cls: type[Enum]) -> Decoder:
    def decode(data: Any) -> Enum:
        try:
            return cls(data)
        except ValueError:
            raise _Misfit(" or ".join(str(member.value) for member in cls), data) from None

    return decode


def _union(hint: Any, args: tuple[Any, ...]) -> Decoder:
    wanted = [_decoder(arg) for arg in args if arg is not type(None)]
    optional = type(None) in args

    def decode(data: Any) -> Any:
        if data is None and optional:
            return None
        if len(wanted) == 1:
            return wanted[0](data)
        for decoder in wanted:
            try:
                return decoder(data)
            except _Misfit:
                continue
        raise _Misfit(str(hint), data)

    return decode


def _sequence(args: tuple[Any, ...]) -> Decoder:
    repeated = len(args) == 2 and args[1] is Ellipsis
    decoders = [_decoder(arg) for arg in args if arg is not Ellipsis]

    def decode(data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list | tuple):
            raise _Misfit("a list", data)
        if not repeated and len(data) != len(decoders):
            raise _Misfit(f"a list of {len(decoders)}", data)
        values: list[Any] = []
        try:
            for decoder, value in zip(decoders * len(data) if repeated else decoders, data, strict=True):
                values.append(decoder(value))
        except _Misfit as misfit:
            misfit.path.append(f"[{len(values)}]")
            raise
        return tuple(values)

    return decode


def _mapping(of_keys: Any, of_values: Any) -> Decoder:
    of_key, of_value = _decoder(of_keys), _decoder(of_values)

    def decode(data: Any) -> dict[Any, Any]:
        if not isinstance(data, Mapping):
            raise _Misfit("an object", data)
        keys, values = [of_key(name) for name in data], {}
        for key, (name, value) in zip(keys, data.items(), strict=True):
            try:
                values[key] = of_value(value)
            except _Misfit as misfit:
                misfit.path.append(f".{name}")
                raise
        return values

    return decode


def _dataclass(cls: type) -> Decoder:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    decoders: dict[str, Decoder] = {}  # filled when first used, since a dataclass may contain itself
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def decode(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise _Misfit("an object", data)
        if unknown := sorted(data.keys() - fields.keys(), key=str):
            raise _Misfit(", ".join(sorted(fields)), ", ".join(map(str, unknown)), "unknown keys")
        if not decoders:
            decoders.update({name: _decoder(hints[name]) for name in fields})
        values, name = {}, ""
        try:
            for name in required:
                if name not in data:
                    raise _Misfit("", "", "missing key")
            for name, value in data.items():
                values[name] = decoders[name](value)
        except _Misfit as misfit:
            misfit.path.append(f".{name}")
            raise
        return cls(**values)

    return decode


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN, so that equal values hash equal."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def readable(value: Any) -> str:
    """Canonical JSON laid out for review: sorted keys, one key a line, a trailing newline."""
    return json.dumps(to_json(value), sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
