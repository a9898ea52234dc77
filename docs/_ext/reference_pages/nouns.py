"""The nouns of core: each dataclass and enum with its docstring and fields; verdicts and diagnoses with meanings."""

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from enum import Enum
from types import ModuleType
from typing import Any

import paritygate.core
from paritygate.core.drift import Diagnosis, Verdict

from reference_pages.markdown import (
    UndocumentedError,
    anchor,
    code,
    comments,
    default,
    documentation,
    is_noun,
    prose,
    table,
    written,
)


def modules() -> list[ModuleType]:
    """The files of core that define a noun."""
    names = [info.name for info in pkgutil.iter_modules(paritygate.core.__path__)]
    found = [importlib.import_module(f"paritygate.core.{name}") for name in names]
    return [module for module in found if nouns_of(module)]


def nouns_of(module: ModuleType) -> list[type]:
    """The public nouns that a file defines, as they stand there."""
    return [
        value
        for name, value in vars(module).items()
        if not name.startswith("_") and is_noun(value) and value.__module__ == module.__name__
    ]


def nouns() -> str:
    """One heading a file, and under it one a noun."""
    parts = []
    for module in modules():
        first = documentation(module, module.__name__).split("\n\n")[0]
        parts += [f"## core/{module.__name__.rpartition('.')[2]}.py", prose(" ".join(first.split()))]
        parts += [entry(cls) for cls in nouns_of(module)]
    return "\n\n".join(parts) + "\n"


def entry(cls: type) -> str:
    """A noun: anchor, heading, docstring, fields or members, and what it can be asked."""
    name = f"{cls.__module__}.{cls.__name__}"
    parts = [f"({anchor(cls)})=\n### {cls.__name__}", prose(documentation(cls, name))]
    if issubclass(cls, Enum):
        beside = comments(cls)
        rows = [(code(member.value) or "empty", prose(beside.get(member.name, ""))) for member in cls]
        rows = rows if any(words for _, words in rows) else [(value,) for value, _ in rows]
        parts.append(table(("member", "meaning")[: len(rows[0])], rows))
    else:
        parts.append(fields(cls))
    if asked := properties(cls):
        parts.append(table(("property", "gives", ""), asked))
    return "\n\n".join(parts)


def fields(cls: Any) -> str:
    hints, beside = typing.get_type_hints(cls), comments(cls)
    rows = [
        (code(field.name), written(hints[field.name]), default(field), prose(beside.get(field.name, "")))
        for field in dataclasses.fields(cls)
    ]
    if any(row[3] for row in rows):
        return table(("field", "type", "default", ""), rows)
    return table(("field", "type", "default"), [row[:3] for row in rows])


def properties(cls: type) -> list[tuple[str, str, str]]:
    found = []
    for name, value in vars(cls).items():
        if isinstance(value, property) and not name.startswith("_"):
            hint = typing.get_type_hints(value.fget).get("return", Any)
            said = inspect.cleandoc(value.__doc__ or "").split("\n\n")[0]
            found.append((code(name), written(hint), prose(" ".join(said.split()))))
    return found


def verdicts() -> str:
    return _meanings(Verdict)


def diagnoses() -> str:
    """Each diagnosis with what the report says of it; one without a meaning is refused."""
    from paritygate.report.words import MEANINGS

    return _meanings(Diagnosis, MEANINGS)


def _meanings(cls: type[Enum], words: Any = None) -> str:
    known = {} if words is None else words
    rows = []
    for member in cls:
        if member.value:
            meaning = known.get(member) or comments(cls).get(member.name, "")
            if not meaning:
                raise UndocumentedError(f"{cls.__name__} {member.value} has no meaning beside it, in core/drift.py")
            rows.append((code(member.value), prose(meaning)))
    return table((cls.__name__.lower(), "meaning"), rows)
