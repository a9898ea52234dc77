"""What an equation of a traced program holds, and the line of source that it comes from."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

_JAX = str(Path(jax.__file__).parent)
# `file:line:column (function)`, the column from Python 3.11 on
_SUMMARY = re.compile(r"(?P<file>.+?):(?P<number>\d+)(:\d+)?( \((?P<function>.*)\))?")


class Line(NamedTuple):
    """Where an equation comes from; `file` is the whole path, `function` as `Class.method`. Empty where not known."""

    file: str = ""
    number: int = 0
    function: str = ""

    @property
    def short(self) -> str:
        """`moe.py:69`"""
        return f"{Path(self.file).name}:{self.number}"

    def __str__(self) -> str:
        return f"{self.short} ({self.function})" if self.file else "no line of the program"


def source_line(eqn: JaxprEqn) -> Line:
    """The innermost line outside JAX itself; an empty one where there is none."""
    if eqn.source_info.traceback is None:
        return Line()
    found = _SUMMARY.fullmatch(source_info_util.summarize(eqn.source_info))
    return Line(found["file"], int(found["number"]), found["function"] or "") if found else Line()


def qualified(line: Line) -> str:
    """The function of a line as `module:Class.method`; the file stands for a module that is not imported."""
    module = _modules().get(line.file) or _modules(len(sys.modules)).get(line.file, line.file)
    return f"{module}:{line.function}"


@cache
def _modules(count: int = 0) -> dict[str, str]:
    """The module of each file that is imported; `count` is how many, so that a later look sees later ones."""
    return {file: name for name, module in list(sys.modules.items()) if (file := getattr(module, "__file__", None))}


def calling_line(eqn: JaxprEqn) -> Line:
    """The line that calls the function which `source_line` is in; an empty one where there is none."""
    if eqn.source_info.traceback is None:
        return Line()
    outer, *inner = source_info_util.summarize(eqn.source_info, num_frames=2).splitlines() or [""]
    found = _SUMMARY.fullmatch(outer) if inner else None
    return Line(found["file"], int(found["number"]), found["function"] or "") if found else Line()


def held(eqn: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs among an equation's parameters, however deep in tuples."""
    return _programs(tuple(eqn.params.values()))


def open_jaxpr(program: ClosedJaxpr | Jaxpr) -> Jaxpr:
    return program.jaxpr if isinstance(program, ClosedJaxpr) else program


def is_jax(jaxpr: Jaxpr) -> bool:
    """Whether what was traced is a function of JAX: it does so once, so that the lines are those of the first call."""
    return f" at {_JAX}" in (jaxpr.debug_info.func_src_info or "")


def _programs(value: Any) -> Iterator[ClosedJaxpr | Jaxpr]:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _programs(part)
