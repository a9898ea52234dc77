"""A program run once, equation by equation, with every value kept: what is called put in place, loops unrolled.

Each branch is the one that was taken and each loop ran as often as it did, whatever is replayed later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from paritygate.audit.interpret import At, Origin, Rule, origins_of
from paritygate.audit.promote import bound
from paritygate.audit.source import Line, held, is_jax, open_jaxpr, source_line
from paritygate.core.errors import UsageError


@dataclass(frozen=True)
class Step:
    """One equation that was run: the numbers of the values that it takes and gives, and the line that says so."""

    eqn: JaxprEqn
    line: Line
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    origins: tuple[Origin, ...]


@dataclass
class Tape:
    """Steps in the order in which they ran. `values` holds each value by number, as the steps' own dtypes give it.

    `weights` and `inputs` are the numbers of the arguments, `constants` those of literals and captured arrays; `exact`
    is what an argument is in float64. `rules` stand in for primitives, as in `rewritten`.
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    exact: dict[int, Any] = field(default_factory=dict)
    constants: list[int] = field(default_factory=list)

    def run(self, step: Step, inputs: Sequence[Any]) -> list[Any]:
        """What a step gives for inputs of the dtypes that it declares."""
        rule = self.rules.get(step.eqn.primitive.name)
        return bound(step.eqn, inputs) if rule is None else list(rule(At(step.eqn, step.origins), list(inputs)))

    def feeding(self, numbers: Sequence[int]) -> list[Step]:
        """The steps that values are computed from, in their order."""
        wanted, found = set(numbers), list[Step]()
        for step in reversed(self.steps):
            if wanted.intersection(step.outputs):
                wanted.update(step.inputs)
                found.append(step)
        return found[::-1]


class Recorder:
    """Runs programs one after another onto a tape. What one gave and a later one takes is one value."""

    def __init__(self, rules: Mapping[str, Rule] | None = None):
        self.tape = Tape(rules or {})
        self._origins: dict[int, Origin] = {}
        self._numbers: dict[int, int] = {}  # by the id of an array that the tape keeps

    def add(
        self, program: ClosedJaxpr, arguments: Sequence[Any], exact: Sequence[Any] = (), weights: int = 0
    ) -> list[int]:
        """Runs a program and returns the numbers of its outputs; its first `weights` arguments are weights.

        `exact` are the arguments in float64, where they are known.
        """
        numbers = []
        for place, argument in enumerate(arguments):
            if (number := self._numbers.get(id(argument))) is None:
                number = self._numbers[id(argument)] = self._new(argument, Origin(weight=place < weights))
                (self.tape.weights if place < weights else self.tape.inputs).append(number)
                if exact:
                    self.tape.exact[number] = exact[place]
            numbers.append(number)
        found = self._program(program, numbers, Line(), of_jax=False)
        self._numbers |= {id(self.tape.values[number]): number for number in found}
        return found

    def _new(self, value: Any, origin: Origin) -> int:
        self.tape.values.append(value)
        number = len(self.tape.values) - 1
        self._origins[number] = origin
        return number

    def _constant(self, value: Any, aval: Any) -> int:
        if not isinstance(value, jax.Array):
            value = jnp.asarray(value, dtype=aval.dtype)
        number = self._new(value, Origin())
        self.tape.constants.append(number)
        return number

    def _program(self, program: ClosedJaxpr | Jaxpr, arguments: Sequence[int], line: Line, of_jax: bool) -> list[int]:
        jaxpr = open_jaxpr(program)
        known: dict[Any, int] = dict(zip(jaxpr.invars, arguments, strict=True))
        if isinstance(program, ClosedJaxpr):
            for variable, value in zip(jaxpr.constvars, program.consts, strict=True):
                known[variable] = self._constant(value, variable.aval)

        def number(atom: Any) -> int:
            return self._constant(atom.val, atom.aval) if isinstance(atom, Literal) else known[atom]

        for eqn in jaxpr.eqns:
            here = line if of_jax else source_line(eqn)
            here = here if here.file else line
            inputs = [number(atom) for atom in eqn.invars]
            known |= zip(eqn.outvars, self._equation(eqn, inputs, here, of_jax), strict=True)
        return [number(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: JaxprEqn, inputs: list[int], line: Line, of_jax: bool) -> Sequence[int]:
        name = eqn.primitive.name
        if name == "shard_map":
            raise UsageError(
                "a program over several devices cannot be taken apart",
                where=f"{name} at {line}",
                expected="a cell of one device",
            )
        if name in _HOLDING:
            return _HOLDING[name](self, eqn, inputs, line, of_jax)
        if not eqn.outvars:  # one that only prints
            return ()
        origins = tuple(self._origins[number] for number in inputs)
        step = Step(eqn, line, tuple(inputs), (), origins)
        found = self.tape.run(step, [self.tape.values[number] for number in inputs])
        after = origins_of(eqn, list(origins), "forward")
        outputs = tuple(self._new(value, origin) for value, origin in zip(found, after, strict=True))
        self.tape.steps.append(Step(eqn, line, tuple(inputs), outputs, origins))
        return outputs

    def _body(self, program: ClosedJaxpr | Jaxpr, inputs: Sequence[int], line: Line, of_jax: bool) -> list[int]:
        return self._program(program, inputs, line, of_jax or is_jax(open_jaxpr(program)))

    def _function(self, function: Callable[..., Any], inputs: Sequence[int], line: Line) -> int:
        """Runs a function of JAX's at a line."""
        program = jax.make_jaxpr(function)(*(self.tape.values[number] for number in inputs))
        return self._program(program, inputs, line, of_jax=True)[0]

    def call(self, eqn: JaxprEqn, inputs: list[int], line: Line, of_jax: bool) -> list[int]:
        return self._body(next(iter(held(eqn))), inputs, line, of_jax)

    def scan(self, eqn: JaxprEqn, inputs: list[int], line: Line, of_jax: bool) -> list[int]:
        params = eqn.params
        first, carried = params["num_consts"], params["num_carry"]
        consts, carry, xs = inputs[:first], inputs[first : first + carried], inputs[first + carried :]
        turns = range(params["length"])
        rows: list[list[int]] = []
        for turn in reversed(turns) if params["reverse"] else turns:
            given = [self._function(lambda x, at=turn: x[at], [x], line) for x in xs]
            found = self._body(params["jaxpr"], [*consts, *carry, *given], line, of_jax)
            carry = found[:carried]
            rows.append(found[carried:])
        rows = rows[::-1] if params["reverse"] else rows
        stacks = eqn.outvars[carried:]
        if not rows:
            avals: list[Any] = [variable.aval for variable in stacks]
            return [*carry, *(self._constant(jnp.zeros(aval.shape, aval.dtype), aval) for aval in avals)]
        return [
            *carry,
            *(
                self._function(lambda *parts: jnp.stack(parts), [row[place] for row in rows], line)
                for place in range(len(stacks))
            ),
        ]

    def while_loop(self, eqn: JaxprEqn, inputs: list[int], line: Line, of_jax: bool) -> list[int]:
        params = eqn.params
        first = params["cond_nconsts"]
        last = first + params["body_nconsts"]
        carry = inputs[last:]
        while True:
            (going,) = self._body(params["cond_jaxpr"], [*inputs[:first], *carry], line, of_jax)
            if not np.asarray(self.tape.values[going]).any():
                return carry
            carry = self._body(params["body_jaxpr"], [*inputs[first:last], *carry], line, of_jax)

    def cond(self, eqn: JaxprEqn, inputs: list[int], line: Line, of_jax: bool) -> list[int]:
        branches = eqn.params["branches"]
        taken = int(np.clip(int(self.tape.values[inputs[0]]), 0, len(branches) - 1))
        return self._body(branches[taken], inputs[1:], line, of_jax)


_HOLDING: Mapping[str, Callable[..., list[int]]] = {
    "scan": Recorder.scan,
    "while": Recorder.while_loop,
    "cond": Recorder.cond,
} | dict.fromkeys(
    "jit pjit closed_call core_call call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr custom_vmap_call"
    " remat remat2 checkpoint".split(),
    Recorder.call,
)
