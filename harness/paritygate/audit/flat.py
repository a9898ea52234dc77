"""A jaxpr as one list of equations, what it calls put in place, each with the line of source that it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from typing import Literal as OneOf

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from paritygate.audit.source import Line, held, is_jax, open_jaxpr, source_line

Way = OneOf["forward", "backward"]


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
    """One equation: what it computes, of what, and the line that says so.

    `way` is `backward` for what a derivative added to go back from its result.
    """

    primitive: str
    params: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    line: Line
    way: Way = "forward"


def flat(closed: ClosedJaxpr) -> list[Equation]:
    """Every equation in the order of evaluation; of a loop its body once, of a choice each branch.

    What a jitted function, a loop or a branch is given and gives is one value with what it is inside. A choice ends
    in a `cond` of what its branches give, branch after branch; other equations that only hold others are left out.
    """
    walk = _Walk()
    return list(walk.of(closed, {}, Line()))


class _Walk:
    def __init__(self) -> None:
        self._numbers = count()

    def of(
        self,
        program: ClosedJaxpr | Jaxpr,
        known: dict[Any, Value],
        around: Line,
        of_jax: bool = False,
        way: Way = "forward",
    ) -> Iterator[Equation]:
        """The equations of a jaxpr whose variables in `known` are values that there are already.

        `around` is the line that calls it: what is `of_jax` stands there.
        """
        jaxpr = open_jaxpr(program)
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
            line = around if of_jax else source_line(equation)
            line = line if line.file else around
            here: Way = "backward" if "transpose(" in str(equation.source_info.name_stack) else way
            inputs = tuple(value(atom) for atom in equation.invars)
            given_by: list[Value] = []
            inner = _jaxprs(equation)
            for number, (inner_program, body) in enumerate((each, open_jaxpr(each)) for each in inner):
                # What is given to a body are the last of an equation's inputs: before them are a choice's index, and
                # what a loop's condition looks at.
                given = inputs[len(inputs) - len(body.invars) :] if len(body.invars) <= len(inputs) else ()
                inside = dict(zip(body.invars, given, strict=False))
                yield from self.of(inner_program, inside, line, of_jax or is_jax(body), here)
                if equation.primitive.name == "cond":
                    given_by += [inside[atom] for atom in body.outvars if not isinstance(atom, Literal)]
                elif number == 0:
                    for outer, atom in zip(equation.outvars, body.outvars, strict=False):
                        if not isinstance(atom, Literal) and atom in inside:
                            known[outer] = inside[atom]
            if given_by or not inner:
                outputs = tuple(value(atom) for atom in equation.outvars)
                yield Equation(equation.primitive.name, equation.params, tuple(given_by) or inputs, outputs, line, here)


def _jaxprs(equation: JaxprEqn) -> list[ClosedJaxpr | Jaxpr]:
    """Those that an equation evaluates; of a loop the body comes before the condition."""
    if equation.primitive.name == "while":
        return [equation.params["body_jaxpr"], equation.params["cond_jaxpr"]]
    return list(held(equation))
