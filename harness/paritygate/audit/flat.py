"""A jaxpr as one list of equations, what it calls put in place, each with the line of source that it comes from."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

# `file:line:column (function)`, the column from Python 3.11 on
_SUMMARY = re.compile(r"(?P<file>.+?):(?P<number>\d+)(:\d+)?( \((?P<function>.*)\))?")
_JAX = str(Path(jax.__file__).parent)


class Line(NamedTuple):
    """Where an equation comes from; `file` is the whole path, `function` as `Class.method`. Empty where not known."""

    file: str = ""
    number: int = 0
    function: str = ""


@dataclass(frozen=True)
class Value:
    """One value of a program: equal numbers are the same value. `constant` is what a literal or a constant is."""

    number: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    constant: Any = None
    weak: bool = False


@dataclass(frozen=True)
class Equation:
    """One equation: what it computes, of what, and the line that says so."""

    primitive: str
    params: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    line: Line


def flat(closed: ClosedJaxpr) -> list[Equation]:
    """Every equation in the order of evaluation; of a loop its body once, of a choice each branch.

    What a jitted function, a loop or a branch is given and gives is one value with what it is inside, a choice's that
    of its first branch. Equations that only hold others are left out.
    """
    walk = _Walk()
    return list(walk.of(closed, {}, Line()))


class _Walk:
    def __init__(self) -> None:
        self._numbers = count()

    def of(
        self, program: ClosedJaxpr | Jaxpr, known: dict[Any, Value], around: Line, of_jax: bool = False
    ) -> Iterator[Equation]:
        """The equations of a jaxpr whose variables in `known` are values that there are already.

        `around` is the line that calls it: what is `of_jax` stands there.
        """
        jaxpr = _open(program)
        if isinstance(program, ClosedJaxpr):
            for variable, constant in zip(jaxpr.constvars, program.consts, strict=True):
                aval: Any = variable.aval
                known[variable] = Value(next(self._numbers), aval.dtype, tuple(aval.shape), constant)

        def value(atom: Any) -> Value:
            if isinstance(atom, Literal):
                given: Any = atom.aval
                return Value(next(self._numbers), given.dtype, tuple(given.shape), atom.val)
            if atom not in known:
                aval: Any = atom.aval
                dtype, weak = getattr(aval, "dtype", np.dtype(object)), getattr(aval, "weak_type", False)
                known[atom] = Value(next(self._numbers), dtype, tuple(getattr(aval, "shape", ())), weak=weak)
            return known[atom]

        for equation in jaxpr.eqns:
            line = around if of_jax else _line(equation) or around
            inputs = tuple(value(atom) for atom in equation.invars)
            inner = list(_jaxprs(equation))
            for number, (held, body) in enumerate((each, _open(each)) for each in inner):
                # What is given to a body are the last of an equation's inputs: before them are a choice's index, and
                # what a loop's condition looks at.
                given = inputs[len(inputs) - len(body.invars) :] if len(body.invars) <= len(inputs) else ()
                inside = dict(zip(body.invars, given, strict=False))
                yield from self.of(held, inside, line, of_jax or _is_jax(body))
                if number == 0:
                    for outer, atom in zip(equation.outvars, body.outvars, strict=False):
                        if not isinstance(atom, Literal) and atom in inside:
                            known[outer] = inside[atom]
            if not inner:
                outputs = tuple(value(atom) for atom in equation.outvars)
                yield Equation(equation.primitive.name, equation.params, inputs, outputs, line)


def _open(program: ClosedJaxpr | Jaxpr) -> Jaxpr:
    return program.jaxpr if isinstance(program, ClosedJaxpr) else program


def _jaxprs(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Those that an equation evaluates; of a loop the body comes before the condition."""
    found = [(name, each) for name, param in equation.params.items() for each in _in(param)]
    for _, each in sorted(found, key=lambda item: item[0].startswith("cond_")):
        yield each


def _in(param: Any) -> Sequence[ClosedJaxpr | Jaxpr]:
    if isinstance(param, ClosedJaxpr | Jaxpr):
        return [param]
    return [each for each in param if isinstance(each, ClosedJaxpr | Jaxpr)] if isinstance(param, tuple | list) else []


def _line(equation: JaxprEqn) -> Line | None:
    """Where the equation stands; None where no frame of it is a user's."""
    if equation.source_info.traceback is None:
        return None
    found = _SUMMARY.fullmatch(source_info_util.summarize(equation.source_info))
    return Line(found["file"], int(found["number"]), found["function"] or "") if found else None


def _is_jax(jaxpr: Jaxpr) -> bool:
    """Whether what was traced is a function of JAX: it does so once, so that the lines are those of the first call."""
    return f" at {_JAX}" in (jaxpr.debug_info.func_src_info or "")
