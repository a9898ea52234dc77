"""Markdown out of code: tables, prose of docstrings, types with links, and the comments that stand beside fields."""

import ast
import collections.abc
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
import types
import typing
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import cache
from typing import Any


class UndocumentedError(Exception):
    """Something that the reference must show has no words of its own."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(value: Any) -> str:
    """A value as code; empty text as nothing."""
    return f"`{value}`" if str(value) else ""


def prose(text: str) -> str:
    """Words of the code as Markdown: what is not in backticks is escaped where Markdown would take it for its own."""
    parts = re.split(r"(`[^`]*`)", text)
    escaped = [part if i % 2 else re.sub(r"([*_<\[\]\\])", r"\\\1", part) for i, part in enumerate(parts)]
    return "".join(escaped)


def documentation(what: Any, name: str) -> str:
    """The docstring of a module, class or function. Raises UndocumentedError where nobody wrote one."""
    text = inspect.cleandoc(getattr(what, "__doc__", None) or "")
    if not text or (dataclasses.is_dataclass(what) and text.startswith(f"{getattr(what, '__name__', '')}(")):
        raise UndocumentedError(f"{name} has no docstring")
    return text


def anchor(cls: type) -> str:
    return f"noun-{cls.__name__.lower()}"


def is_noun(hint: Any) -> bool:
    """A dataclass or an enum of core: what the page of nouns has an entry for."""
    if not isinstance(hint, type) or not hint.__module__.startswith("paritygate.core."):
        return False
    return dataclasses.is_dataclass(hint) or issubclass(hint, Enum)


def written(hint: Any) -> str:
    """A type as it is written in the code, each noun of core as a link to its entry."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "`None`"
    if is_noun(hint):
        return f"[{hint.__name__}](#{anchor(hint)})"
    if origin is typing.Literal:
        return " or ".join(code(repr(arg).replace("'", '"')) for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(written, args))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"tuple of {written(args[0])}"
        return f"({', '.join(map(written, args))})"
    if origin is collections.abc.Callable:
        return "function"
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return f"{written(args[0])} → {written(args[1])}"
    if isinstance(origin, type):
        return f"{origin.__name__} of {', '.join(map(written, args))}"
    return code(getattr(hint, "__name__", str(hint)))


def default(field: "dataclasses.Field[Any]") -> str:
    """The default of a field; empty where it has to be given."""
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    if field.default is dataclasses.MISSING:
        return ""
    value = field.default.value if isinstance(field.default, Enum) else field.default
    return "empty" if value in ("", ()) else code(repr(value).replace("'", '"'))


@cache
def comments(cls: type) -> dict[str, str]:
    """What is written behind the fields of a dataclass, or the members of an enum, on their own lines."""
    source = textwrap.dedent(inspect.getsource(cls))
    beside = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node in body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        for target in targets:
            if isinstance(target, ast.Name) and node.end_lineno in beside:
                found[target.id] = beside[node.end_lineno]
    return found
