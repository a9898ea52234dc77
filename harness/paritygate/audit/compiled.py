"""The rules of the precision lint that look at what XLA made of a program; each rule is a function."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from paritygate.audit.flat import Equation, flat
from paritygate.audit.hlo import Instruction, Module, read
from paritygate.audit.lint import is_float, is_low, next_uses, uses_of
from paritygate.audit.source import Line, qualified
from paritygate.core.lint import Finding

_LOW = ("bf16", "f16")
_PRODUCTS = ("dot", "convolution")
_REDUCTIONS = frozenset(
    "reduce reduce-window scatter select-and-scatter all-reduce all-reduce-start reduce-scatter map".split()
)
_AS_LOOP = {"map": "scatter"}  # where XLA makes a loop of a scatter, each turn applies its reducer by a map
_MOVES = frozenset(
    "bitcast copy reshape transpose broadcast slice dynamic-slice reverse concatenate gather pad fusion call".split()
)
_ENDS = frozenset("tuple while conditional async-start custom-call".split())
# Primitives that are one instruction of XLA each.
_SAME = {
    "dot_general": "dot",
    "conv_general_dilated": "convolution",
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "exp": "exponential",
    "tanh": "tanh",
    "rsqrt": "rsqrt",
    "sqrt": "sqrt",
    "sin": "sine",
    "cos": "cosine",
}

Found = tuple[Instruction, str]
Rule = Callable[[Module, Sequence[Equation], np.dtype], Iterator[Found]]


def lint_compiled(case: str, cell: str, program: ClosedJaxpr, text: str, compute: str) -> list[Finding]:
    """What the rules find in the compiled `text` of a program whose model dtype is `compute`; each once a line."""
    module, equations = read(text), flat(program)
    found: dict[Finding, None] = {}
    for name, rule in RULES.items():
        for instruction, what in rule(module, equations, jnp.dtype(compute)):
            line = _line(instruction, module)
            found[Finding(case, cell, name, qualified(line), line.short, what, "compiled")] = None
    return list(found)


def _line(instruction: Instruction, module: Module) -> Line:
    """Its own; where XLA lost it, that of its reducer or of its fusion."""
    if instruction.line.file:
        return instruction.line
    inside = (each for name in instruction.called for each in module.computations[name])
    around = (each for each in module.instructions if instruction.computation in each.called)
    return next((each.line for each in (*inside, *around) if each.line.file), Line())


def _dtype(instruction: Instruction) -> str:
    return instruction.shapes[0].dtype if instruction.shapes else ""


def _accumulations(module: Module, equations: Sequence[Equation], model: np.dtype) -> Iterator[Found]:
    for body in module.computations.values():
        dtypes = {each.name: _dtype(each) for each in body}
        for each in body:
            if each.opcode in _PRODUCTS:
                if all(dtype in _LOW for dtype in (_dtype(each), *(dtypes.get(name) for name in each.operands[:2]))):
                    yield each, f"{each.opcode} of 16 bits gives 16 bits"
            elif each.opcode in _REDUCTIONS and any(_sums_low(module.computations[name]) for name in each.called):
                yield each, f"{_AS_LOOP.get(each.opcode, each.opcode)} sums in 16 bits"


def _sums_low(reducer: Sequence[Instruction]) -> bool:
    """Whether a reducer adds or multiplies, and gives what 16 bits hold: where a CPU adds in 32, it rounds each sum."""
    sums = any(each.opcode in ("add", "multiply") for each in reducer)
    return sums and any(_dtype(each) in _LOW and each.opcode in ("add", "multiply", "convert") for each in reducer)


def _excess(module: Module, equations: Sequence[Equation], model: np.dtype) -> Iterator[Found]:
    asked = _rounded(equations)
    uses = _Uses(module)
    for each in module.instructions:
        if _SAME.get(each.primitive) != each.opcode or _dtype(each) not in ("f32", "f64"):
            continue
        key = (each.line.file, each.line.number, each.primitive, prod(each.shapes[0].dims))
        if asked.get(key) and uses.unrounded(each):
            yield each, f"{each.opcode} in {_dtype(each)} is used before it is rounded"


def _rounded(equations: Sequence[Equation]) -> dict[tuple[str, int, str, int], bool]:
    """Whether a program rounds to 16 bits all that a primitive computes at a line, before it uses it.

    By the number of elements, too: XLA makes x / s into x · (1 / s), where the quotient is another one.
    """
    uses = uses_of(equations)
    asked: dict[tuple[str, int, str, int], bool] = {}
    for equation in equations:
        if equation.primitive not in _SAME:
            continue
        key = (equation.line.file, equation.line.number, equation.primitive, prod(equation.outputs[0].shape))
        then = list(next_uses(equation, uses))
        rounds = is_low(equation.outputs[0].dtype) or (bool(then) and all(_rounds(each) for each in then))
        asked[key] = asked.get(key, True) and rounds
    return asked


def _rounds(equation: Equation) -> bool:
    return equation.primitive == "convert_element_type" and is_low(equation.outputs[0].dtype)


class _Uses:
    """What uses an instruction's result, in its computation, in what that calls and in what it is called by."""

    def __init__(self, module: Module):
        self._module = module
        self._parameters = {
            (each.computation, int(each.given)): each for each in module.instructions if each.opcode == "parameter"
        }

    def unrounded(self, instruction: Instruction) -> bool:
        """Whether something computes with a result that was not rounded to 16 bits, behind moves."""
        pending, seen = [instruction], set[tuple[str, str]]()
        while pending:
            each = pending.pop()
            if (each.computation, each.name) in seen:
                continue
            seen.add((each.computation, each.name))
            if each.is_root:
                pending += [
                    caller for caller in self._module.callers[each.computation] if caller.opcode in ("fusion", "call")
                ]
            for user in self._module.users[each.computation, each.name]:
                if user.opcode in ("fusion", "call"):
                    pending += [
                        self._parameters[user.called[0], at]
                        for at, name in enumerate(user.operands)
                        if name == each.name and (user.called[0], at) in self._parameters
                    ]
                elif user.opcode in _MOVES:
                    pending.append(user)
                elif _dtype(user) not in _LOW and user.opcode not in (*_ENDS, "reduce-precision"):
                    return True
        return False


def _float64(module: Module, equations: Sequence[Equation], model: np.dtype) -> Iterator[Found]:
    if not is_float(model) or model.itemsize >= 8:
        return
    for each in module.instructions:
        if _dtype(each) == "f64" and each.opcode not in _MOVES | _ENDS | {"parameter", "constant"}:
            yield each, f"{each.opcode} in f64"


RULES: Mapping[str, Rule] = {
    "compiled-accumulation": _accumulations,
    "excess-precision": _excess,
    "compiled-float64": _float64,
}
