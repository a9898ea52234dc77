"""What each line of a program adds to the rounding of one value, measured in float64.

What an equation adds is the difference of its own result from that of the same equation in float64 on the same inputs.
The tape is replayed in float64 with what chosen lines add put in: with nothing it is the exact program, with everything
the program as it ran, and in between what those lines alone make of the value, choices that flip included.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import jax.numpy as jnp
import numpy as np

from paritygate.audit.promote import OWN, cast, computed_in, declared, is_float
from paritygate.audit.source import Line, calling_line
from paritygate.audit.tape import Step, Tape

INPUTS = Line(function="the inputs, rounded")
WEIGHTS = Line(function="the weights, rounded")

# Equations that round and compute nothing: a program in float64 has fewer of them.
_ROUNDINGS = frozenset({"convert_element_type", "reduce_precision", "copy"})
# A constant that differs by more is another one: a roundoff of bfloat16, and what underflows in float16.
_ROUNDOFF, _SMALLEST = 2.0**-8, 2.0**-25

Values = dict[int, Any]


class Lockstep:
    """A tape in its own dtypes and in float64, for one of its values; JAX's x64 must be on.

    `exact` is the tape of the same program in float64: constants that the two have alike count as rounded versions of
    its. `added` holds, by line and number of a value, what the line adds there.
    """

    def __init__(self, tape: Tape, output: int, exact: Tape | None = None):
        self.tape, self.output = tape, output
        self.steps = tape.feeding([output])
        self._start: Values = {}
        self.added: dict[Line, Values] = defaultdict(dict)
        self._sources(dict(exact_constants(tape, exact)) if exact is not None else {})
        for step in self.steps:
            inputs = [self._wide(number) for number in step.inputs]
            for number, value in zip(step.outputs, computed_in(step.eqn, inputs, jnp.float64), strict=True):
                self._add(step.line, number, value)
        self._exact = self._run(self._start, {})

    def _wide(self, number: int) -> Any:
        return cast(self.tape.values[number], jnp.float64)

    def _sources(self, constants: Mapping[int, Any]) -> None:
        """Arguments and constants as they should be; what rounding them adds, for a constant at its first line."""
        first: dict[int, Line] = {}
        for step in self.steps:
            for number in step.inputs:
                first.setdefault(number, step.line)
        lines = dict.fromkeys(self.tape.inputs, INPUTS) | dict.fromkeys(self.tape.weights, WEIGHTS)
        known = {**self.tape.exact, **constants}
        for number in (*lines, *self.tape.constants):
            if number not in first and number != self.output:
                continue
            self._start[number] = self._wide(number)
            if number in known and is_float(self.tape.values[number].dtype):
                self._start[number] = cast(jnp.asarray(known[number]), jnp.float64)
                self._add(lines.get(number) or first.get(number, Line()), number, self._start[number])

    def _add(self, line: Line, number: int, exact: Any) -> None:
        found, exact = np.asarray(self._wide(number)), np.asarray(exact)
        if is_float(found.dtype):
            with np.errstate(invalid="ignore"):
                difference = np.where((found == exact) | np.isnan(exact), 0.0, found - exact)
            if difference.any():
                self.added[line][number] = difference

    def _run(self, known: Values, added: Mapping[int, Any], base: Values | None = None) -> Values:
        """The tape in float64 from the values in `known`; with `base`, what cannot differ is taken from there."""
        values: Values = {
            number: value + added[number] if number in added else value for number, value in known.items()
        }
        changed = {number for number in values if number in added}
        for step in self.steps:
            own = [number for number in step.outputs if number in added]
            if base is not None and not own and changed.isdisjoint(step.inputs):
                values |= {number: base[number] for number in step.outputs}
                continue
            found = computed_in(step.eqn, [values[number] for number in step.inputs], jnp.float64)
            for number, value in zip(step.outputs, found, strict=True):
                values[number] = value + added[number] if number in added else value
                if base is None or is_float(value.dtype) or not np.array_equal(value, base[number]):
                    changed.add(number)
        return values

    @property
    def lines(self) -> list[Line]:
        """The lines that add something, in the order in which they first do."""
        return list(self.added)

    @property
    def exact(self) -> np.ndarray:
        """The value in float64, nothing rounded."""
        return np.asarray(self._exact[self.output])

    @property
    def own(self) -> np.ndarray:
        """The value as the tape has it."""
        return np.asarray(self.tape.values[self.output])

    @property
    def overflowing(self) -> Line | None:
        """The line of the first equation that makes what is not finite of what is; None where none does."""

        def finite(number: int) -> bool:
            value = self._wide(number)
            return not is_float(value.dtype) or bool(np.isfinite(np.asarray(value)).all())

        return next(
            (step.line for step in self.steps if not all(map(finite, step.outputs)) and all(map(finite, step.inputs))),
            None,
        )

    @property
    def own_dtype(self) -> list[str]:
        """Primitives on the way that run in their own dtype in float64 too, and so add nothing."""
        return sorted({step.eqn.primitive.name for step in self.steps} & OWN)

    def with_lines(self, lines: Collection[Line]) -> np.ndarray:
        """The value in float64 where nothing but these lines adds what it adds."""
        added = {number: value for line in lines for number, value in self.added[line].items()}
        return np.asarray(self._run(self._start, added, self._exact)[self.output])

    def raised(self, line: Line, dtype: Any) -> np.ndarray:
        """The value in the tape's own dtypes where one line computes in a wider one and rounds nothing.

        Where others take what it gives they cast it to what they declare; the value itself may be that wide.
        """
        values: Values = {}
        for number in self.added.get(line, ()):
            if number in self._start:  # a constant, or what was given
                values[number] = cast(self._start[number], dtype)
        for step in self.steps:
            if step.line != line and values.keys().isdisjoint(step.inputs):
                continue
            inputs = [values.get(number, self.tape.values[number]) for number in step.inputs]
            if step.line == line:
                found = computed_in(step.eqn, inputs, dtype)
            else:
                found = self.tape.run(step, declared(step.eqn, inputs))
            values |= zip(step.outputs, found, strict=True)
        return np.asarray(values.get(self.output, self.tape.values[self.output]))

    def what(self, line: Line) -> tuple[str, Line]:
        """Which of a line's equations rounds most, in words: `exp in bfloat16`.

        And where that is a constant, which may have been rounded before the function was called, the line that calls.
        """
        sizes: dict[tuple[str, Line], float] = defaultdict(float)
        maker = {number: step for step in self.steps for number in step.outputs}
        for number, value in self.added[line].items():
            with np.errstate(over="ignore"):  # of a mask of the lowest number
                size = float(np.linalg.norm(np.asarray(self._wide(number)).ravel()))
                relative = float(np.linalg.norm(value.ravel())) / size if size else 0.0
            if number in maker:
                key = self._words(maker[number], self.tape.values[number]), Line()
            else:
                user = next((step for step in self.steps if number in step.inputs), None)
                key = f"constant in {self.tape.values[number].dtype.name}", calling_line(user.eqn) if user else Line()
            sizes[key] += relative**2
        return max(sizes, key=lambda key: sizes[key]) if sizes else ("", Line())

    def _words(self, step: Step, value: Any) -> str:
        name, params = step.eqn.primitive.name, step.eqn.params
        if name in self.tape.rules:
            return f"{name} in the cell's arithmetic"
        if name == "reduce_precision":
            return f"rounded to {params['mantissa_bits']} bits of mantissa"
        if name == "convert_element_type":
            return f"rounded to {value.dtype.name}"
        given: Any = step.eqn.invars[0].aval if step.eqn.invars else value
        of = f" of {given.dtype.name}" if is_float(given.dtype) and given.dtype != value.dtype else ""
        return f"{name} in {value.dtype.name}{of}"


def _is_rounded(found: Any, exact: Any) -> bool:
    """Whether all numbers are those of another value but for a rounding: the largest number of a dtype is none."""
    if found.shape != exact.shape or not (is_float(found.dtype) and is_float(exact.dtype)):
        return False
    found, exact = (np.asarray(each, np.float64) for each in (found, exact))
    with np.errstate(invalid="ignore"):
        near = np.abs(found - exact) <= _ROUNDOFF * np.abs(exact) + _SMALLEST
    return bool(np.all(near | (found == exact)))


def exact_constants(tape: Tape, exact: Tape) -> list[tuple[int, Any]]:
    """By number, what a constant of the tape is in the same program in float64: at the same place of the same line.

    The two are laid side by side without their roundings, as far as they are alike.
    """
    one, other = (_computing(each) for each in (tape, exact))
    names = [[(step.eqn.primitive.name, step.line, len(step.inputs)) for step in steps] for steps in (one, other)]
    constants, theirs = set(tape.constants), set(exact.constants)
    before, before_theirs = _roundings_of(tape), _roundings_of(exact)
    found: dict[int, Any] = {}
    for block in _alike(names):
        for ours, wide in zip(one[block[0] :][: block[2]], other[block[1] :][: block[2]], strict=True):
            for number, exactly in zip(ours.inputs, wide.inputs, strict=True):
                number, exactly = _followed(number, before), _followed(exactly, before_theirs)
                both = number in constants and exactly in theirs
                if both and _is_rounded(tape.values[number], exact.values[exactly]):
                    found.setdefault(number, exact.values[exactly])
    return list(found.items())


def _alike(names: Sequence[Sequence[Any]]) -> list[tuple[int, int, int]]:
    if names[0] == names[1]:
        return [(0, 0, len(names[0]))]
    blocks = SequenceMatcher(None, *names, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in blocks]


def _computing(tape: Tape) -> list[Step]:
    return [step for step in tape.steps if step.eqn.primitive.name not in _ROUNDINGS]


def _roundings_of(tape: Tape) -> dict[int, int]:
    """By number of a rounded value, what it was."""
    return {step.outputs[0]: step.inputs[0] for step in tape.steps if step.eqn.primitive.name in _ROUNDINGS}


def _followed(number: int, before: Mapping[int, int]) -> int:
    while number in before:
        number = before[number]
    return number
