"""A compiled program's collectives, replicated tensors, memory and work, read off its text.

Under SPMD there is one program for all devices: its shapes, and so all bytes here, are those of one device.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding

from paritygate.audit.groups import MeshAxes, groups_of, pairs_of
from paritygate.audit.hlo import Instruction, Module, Shape, read
from paritygate.audit.source import Line, qualified
from paritygate.audit.turns import executions
from paritygate.core.program import Collective, Loop, Program, Replicated, Warned

KINDS = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all",
    "collective-broadcast",
)  # fmt: skip
# Smaller tensors may be replicated without a word.
REPLICATED_BYTES = 2**20
# XLA's words for what a program needs, and ours.
_MEMORY = {
    "arguments": "argument",
    "results": "output",
    "shared": "alias",
    "temporaries": "temp",
    "code": "generated_code",
}
_BITS = {"pred": 8, "s4": 4, "u4": 4, "s2": 2, "u2": 2, "f4e2m1fn": 4, "bf16": 16}
# What gives a tensor on as it is, or a part of it, in another order or dtype.
_PASSES = frozenset(
    "convert copy copy-start copy-done bitcast reshape transpose slice dynamic-slice opt-barrier all-gather "
    "all-gather-start all-gather-done".split()
)
_PROMOTED = "_promoted"


def summarise(
    compiled_text: str,
    mesh: Mapping[str, int],
    device_order: Sequence[int] = (),
    memory: Mapping[str, int] | None = None,
    cost: Mapping[str, float] | None = None,
    replicated_bytes: int = REPLICATED_BYTES,
) -> Program:
    """The summary of what `Compiled.as_text` gives, without a name.

    `mesh` maps its axes, major first, to their sizes; `device_order` is the number that the program gives to each of
    its devices, in order where left out. Raises InfrastructureError where the text is no program.
    """
    reader = _Reader(read(compiled_text), MeshAxes(mesh, device_order))
    return Program(
        collectives=_counted(reader.collectives()),
        replicated=_counted(each for each in reader.replicated() if each.bytes >= replicated_bytes),
        memory_bytes=dict(memory or {}),
        flops=float((cost or {}).get("flops", 0.0)),
        warned=tuple(dict.fromkeys(reader.warned())),
    )


def summary_of(compiled: Any, mesh: Mapping[str, int], device_order: Sequence[int] = ()) -> Program:
    """The summary of a `jax.stages.Compiled`."""
    found = compiled.memory_analysis()
    memory = {} if found is None else {kind: int(getattr(found, f"{of}_size_in_bytes")) for kind, of in _MEMORY.items()}
    cost = compiled.cost_analysis() or {}
    if isinstance(cost, list | tuple):  # one a program in earlier versions
        cost = cost[0]
    return summarise(compiled.as_text() or "", mesh, device_order, memory, cost)


def mesh_of(compiled: Any) -> dict[str, int]:
    """The axes and sizes of the mesh that a compiled program's arguments lie on; empty where they lie on one device."""
    found: list[NamedSharding] = [
        each for each in jax.tree.leaves(compiled.input_shardings) if isinstance(each, NamedSharding)
    ]
    return next((dict(each.mesh.shape) for each in found if each.mesh.size > 1), {})


def versions() -> dict[str, str]:
    """Those of what makes a program: jax, and XLA as jaxlib brings it."""
    return {name: version(name) for name in ("jax", "jaxlib")}


def size_of(shape: Shape) -> int:
    """Bytes of an array; of four bits and less, rounded up."""
    digits = re.search(r"\d+", shape.dtype)
    bits = _BITS.get(shape.dtype) or (int(digits[0]) if digits else 8)
    return -(-prod(shape.dims) * bits // 8)


def _counted(found: Iterator[Any]) -> tuple[Any, ...]:
    """Each once, with how many, in an order that does not depend on that of the program."""
    counts = Counter(found)
    alike = [replace(each, count=count) for each, count in counts.items()]
    return tuple(sorted(alike, key=lambda each: (each.where, each.line, str(each))))


class _Reader:
    def __init__(self, module: Module, axes: MeshAxes):
        self.module, self.axes = module, axes

    @cached_property
    def times(self) -> Mapping[str, int]:
        """How often each computation runs."""
        return executions(self.module)[0]

    @cached_property
    def exchanges(self) -> list[tuple[Instruction, str]]:
        """Each collective once, with its kind: of an asynchronous one its start."""
        kinds = {name: kind for kind in KINDS for name in (kind, f"{kind}-start")}
        return [(each, kinds[each.opcode]) for each in self.module.instructions if each.opcode in kinds]

    def collectives(self) -> Iterator[Collective]:
        for each, kind in self.exchanges:
            line = self.line(each)
            loop: Loop = "loop" if each.computation in self.module.looped else "once"
            for operand, shape in self._exchanged(each, kind):
                yield Collective(
                    kind=kind,
                    axes=self._axes(each, kind),
                    dtype=shape.dtype,
                    dims=shape.dims,
                    bytes=size_of(shape),
                    where=_function(line),
                    line=_short(line),
                    loop=loop,
                    turns=self.times[each.computation] if loop == "loop" else 0,
                    weight=self.parameter(operand),
                )

    def replicated(self) -> Iterator[Replicated]:
        for each in self.module.computations[self.module.entry] if self.axes.devices > 1 else ():
            if each.opcode == "parameter" and each.attributes.get("sharding") == "{replicated}" and each.shapes:
                shape = each.shapes[0]
                line = next((found for user in self._met(each) if (found := self.line(user)).file), Line())
                yield self._replicated(_parameter_name(each), shape, line)
        for each, kind in self.exchanges:
            if kind == "all-gather" and self._axes(each, kind) == self.axes.whole:
                for operand, shape in self._exchanged(each, kind):
                    yield self._replicated(self.parameter(operand), shape, self.line(each))

    def _replicated(self, name: str, shape: Shape, line: Line) -> Replicated:
        return Replicated(name, shape.dtype, shape.dims, size_of(shape), _function(line), _short(line))

    def warned(self) -> Iterator[Warned]:
        """What is doubtful whatever was recorded: sums in 16 bits, and tensors that are gathered to be cut again."""
        for each, kind in self.exchanges:
            line = self.line(each)
            at = (_function(line), _short(line))
            axes = self._axes(each, kind)
            if kind in ("all-reduce", "reduce-scatter") and (low := self._sums_low(each)):
                yield Warned("device-sum", *at, f"{kind} over {axes} sums {low}")
            elif kind == "all-gather" and self._cut_again(each):
                yield Warned("reshard", *at, f"all-gather over {axes} of what each device then takes a part of")

    def _sums_low(self, each: Instruction) -> str:
        """What is summed in 16 bits or less; CPUs sum it wider, which their reducer's name says."""
        reducer = [inner for name in each.called for inner in self.module.computations.get(name, ())]
        if not any(inner.opcode == "add" for inner in reducer):
            return ""
        dtype = each.shapes[0].dtype if each.shapes else ""
        if dtype in ("bf16", "f16") or dtype.startswith("f8"):
            return dtype
        return "16 bits, which this platform widens" if any(_PROMOTED in name for name in each.called) else ""

    def _cut_again(self, each: Instruction) -> bool:
        """Whether every use, behind moves, is a slice whose place depends on the device."""
        users = list(self._uses(each))
        return bool(users) and all(user.opcode == "dynamic-slice" and self._by_device(user) for user in users)

    def _uses(self, each: Instruction) -> Iterator[Instruction]:
        """What computes with a result, behind moves and inside fusions."""
        pending, seen = [each], set[tuple[str, str]]()
        while pending:
            one = pending.pop()
            if (one.computation, one.name) in seen:
                continue
            seen.add((one.computation, one.name))
            if one.is_root:
                pending += [caller for caller in self.module.callers[one.computation] if caller.opcode == "fusion"]
            for user in self.module.users[one.computation, one.name]:
                if user.opcode == "fusion":
                    pending += [
                        inner
                        for inner in self.module.computations[user.called[0]]
                        if inner.opcode == "parameter" and user.operands[int(inner.given)] == one.name
                    ]
                elif user.opcode in ("convert", "copy", "bitcast", "reshape", "transpose", "all-gather-done"):
                    pending.append(user)
                else:
                    yield user

    def _met(self, given: Instruction) -> Iterator[Instruction]:
        """What computes with a parameter or a part of it, also in the loops that carry it."""
        pending, seen = [given], set[tuple[str, str]]()
        for one in pending:
            for user in self._uses(one):
                if (user.computation, user.name) in seen:
                    continue
                seen.add((user.computation, user.name))
                if user.opcode == "tuple":
                    pending += self._carried(given, user)
                elif user.opcode in _PASSES:
                    pending.append(user)
                else:
                    yield user

    def _carried(self, given: Instruction, state: Instruction) -> Iterator[Instruction]:
        """The same parameter inside the loops that begin with this state."""
        places = {
            str(place)
            for place, name in enumerate(state.operands)
            if self._source(self.module.named.get((state.computation, name)), ()) is given
        }
        for loop in self.module.users[state.computation, state.name]:
            for name in loop.called if loop.opcode == "while" else ():
                for inner in self.module.computations[name]:
                    if inner.opcode == "get-tuple-element" and inner.attributes.get("index") in places:
                        yield inner

    def _by_device(self, each: Instruction) -> bool:
        """Whether an index of a slice comes from the number of the device."""
        pending, seen = [(each.computation, name) for name in each.operands[1:]], set[tuple[str, str]]()
        while pending:
            at = pending.pop()
            found = self.module.named.get(at)
            if found is None or at in seen:
                continue
            seen.add(at)
            if found.opcode in ("partition-id", "replica-id"):
                return True
            pending += [(found.computation, name) for name in found.operands]
            if found.opcode == "parameter":
                for caller in self.module.callers[found.computation]:
                    if caller.opcode == "fusion":
                        pending.append((caller.computation, caller.operands[int(found.given)]))
            elif found.opcode == "fusion":
                pending += [(inner.computation, inner.name) for inner in self.module.computations[found.called[0]]]
        return False

    def _axes(self, each: Instruction, kind: str) -> str:
        if kind == "collective-permute":
            return self.axes.of_pairs(pairs_of(each.attributes.get("source_target_pairs", "")))
        printed = each.attributes.get("replica_groups", "{}")
        if "device_ids" in each.attributes:  # a mesh whose devices are in another order
            printed += f", device_ids={each.attributes['device_ids']}"
        return self.axes.of_groups(groups_of(printed, self.axes.devices), printed)

    def _exchanged(self, each: Instruction, kind: str) -> Iterator[tuple[str, Shape]]:
        """Operands and their results. XLA joins several small collectives into one of a tuple.

        A start gives its operands, then its results, then what it notes for itself; that of an all-reduce its results.
        """
        count = len(each.operands)
        shapes = each.shapes
        if each.opcode.endswith("-start") and len(shapes) >= 2 * count:
            shapes = shapes[count : 2 * count]
        if kind == "all-to-all" and count > 1 and "dimensions" not in each.attributes:
            yield each.operands[0], Shape(shapes[0].dtype, (count, *shapes[0].dims))
            return
        if kind == "ragged-all-to-all":
            count = 1  # the others say what goes where
        yield from (
            (f"{each.computation} {name}", shape) for name, shape in zip(each.operands[:count], shapes, strict=False)
        )

    def line(self, each: Instruction) -> Line:
        """Its own; where XLA lost it, that of what it holds, of what uses it, or of what it is made from."""
        if each.line.file:
            return each.line
        inside = (inner for name in each.called for inner in self.module.computations.get(name, ()))
        after = (user for user in self._uses(each))
        return next((one.line for one in (*inside, *after, *self._before(each)) if one.line.file), Line())

    def _before(self, each: Instruction) -> Iterator[Instruction]:
        """What a result is made from, the nearest first."""
        pending, seen = [each], {(each.computation, each.name)}
        for one in pending:
            before = [(one.computation, name) for name in one.operands]
            if one.opcode == "parameter":
                before = [
                    (caller.computation, name)
                    for caller in self.module.callers[one.computation]
                    for name in caller.operands
                ]
            for at in before:
                if at not in seen and (found := self.module.named.get(at)):
                    seen.add(at)
                    pending.append(found)
                    yield found

    def parameter(self, address: str) -> str:
        """The parameter of the program that an operand, `computation name`, is, or a part of it; empty if none."""
        computation, _, name = address.rpartition(" ")
        found = self._source(self.module.named.get((computation, name)), ())
        return _parameter_name(found) if found else ""

    def _source(self, each: Instruction | None, index: tuple[int, ...]) -> Instruction | None:
        """Goes back from `each`, or from the part of it at `index`, through moves, fusions and into loops."""
        for _ in range(200):
            if each is None:
                return None
            if each.opcode == "parameter":
                if each.computation == self.module.entry:
                    return each
                callers = self.module.callers[each.computation]
                if not callers:
                    return None
                caller = callers[0]
                at = 0 if caller.opcode == "while" else int(each.given)
                if caller.opcode not in ("while", "fusion", "call") or at >= len(caller.operands):
                    return None
                each = self.module.named.get((caller.computation, caller.operands[at]))
            elif each.opcode == "get-tuple-element":
                index = (int(each.attributes["index"]), *index)
                each = self.module.named.get((each.computation, each.operands[0]))
            elif each.opcode == "tuple" and index:
                each, index = self.module.named.get((each.computation, each.operands[index[0]])), index[1:]
            elif each.opcode in ("fusion", "call"):
                each = next((inner for inner in self.module.computations[each.called[0]] if inner.is_root), None)
            elif each.opcode in _PASSES:
                if index and len(each.operands) > index[0]:
                    each, index = self.module.named.get((each.computation, each.operands[index[0]])), index[1:]
                else:
                    each, index = self.module.named.get((each.computation, each.operands[0])), ()
            else:
                return None
        return None


def _function(line: Line) -> str:
    """`module:Class.method`; of a module that is not imported its file's name, for its folder says nothing."""
    module, _, function = qualified(line).rpartition(":")
    return f"{Path(module).name}:{function}" if line.file else ""


def _short(line: Line) -> str:
    return line.short if line.file else ""


def _parameter_name(each: Instruction) -> str:
    """`weights['layers'][*]['attn']['kernel']`: alike ones of all layers have one name."""
    name = each.origin.replace("\\'", "'").removesuffix(".value")
    return re.sub(r"\[\d+\]", "[*]", name) or f"parameter {each.given}"
