"""Equations of a traced program and the source lines that they come from."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# `FILE:LINE:COLUMN (FUNCTION)`, or without a column
_FRAME = re.compile(r"^(?P<file>.+?):(?P<line>\d+)(?::\d+)? \((?P<function>.+)\)$")


class SourceLine(NamedTuple):
    """The line of the program that gave an equation, as `jax_llama4/moe.py:88 (MoE.__call__)`."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        if not self.file:
            return "no line of the program"
        return f"{'/'.join(self.file.split('/')[-2:])}:{self.line} ({self.function})"


class Equation(NamedTuple):
    """One equation; `inside` are the primitives around it, outermost first."""

    eqn: JaxprEqn
    line: SourceLine
    inside: tuple[str, ...]


def source_line(eqn: JaxprEqn) -> SourceLine:
    """The innermost line outside JAX itself; an empty one where JAX kept none."""
    found = _FRAME.match(source_info_util.summarize(eqn.source_info))
    return SourceLine(found["file"], int(found["line"]), found["function"]) if found else SourceLine("", 0, "")


def held(eqn: JaxprEqn) -> Iterator[tuple[Jaxpr, list[Any]]]:
    """The jaxprs among an equation's parameters, however deep in tuples, each with its constants."""
    yield from _jaxprs(tuple(eqn.params.values()))


def _jaxprs(value: Any) -> Iterator[tuple[Jaxpr, list[Any]]]:
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr, list(value.consts)
    elif isinstance(value, Jaxpr):
        yield value, []
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _jaxprs(part)


def equations(closed: ClosedJaxpr) -> Iterator[Equation]:
    """Every equation of a program in order, those of an equation's own programs before it."""
    yield from _equations(closed.jaxpr, ())


def _equations(jaxpr: Jaxpr, inside: tuple[str, ...]) -> Iterator[Equation]:
    for eqn in jaxpr.eqns:
        for inner, _ in held(eqn):
            yield from _equations(inner, (*inside, eqn.primitive.name))
        yield Equation(eqn, source_line(eqn), inside)
