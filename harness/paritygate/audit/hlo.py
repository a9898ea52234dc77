"""The text of a compiled XLA program as a list of instructions, each with the line of source that it comes from.

CPU, GPU and TPU print the same grammar. Constants of more than some ten numbers are printed without them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from paritygate.audit.source import Line
from paritygate.core.errors import InfrastructureError

_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-~]+) (?:\(.*\) -> .*)?\{$")
_INSTRUCTION = re.compile(r"\s+(?P<root>ROOT )?%?(?P<name>[\w.\-~]+) = (?P<rest>.*)$")
_OPCODE = re.compile(r" (?P<opcode>[a-z][\w\-]*)\(")
_SHAPE = re.compile(r"(?P<dtype>[a-z]\w*)\[(?P<dims>[\d,<=]*)\]")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|[(){}\[\],]')
_ROW = re.compile(r"(?P<number>\d+) (?P<rest>[{\"].*)$")
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s{}]+)')
_NAME = re.compile(r"%([\w.\-~]+)")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
# What follows an instruction without being given to it.
_ORDER = "control-predecessors"


class Shape(NamedTuple):
    """One array of a result, its dtype as XLA has it: `bf16`, `f8e4m3fn`, `s32`, `pred`."""

    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Instruction:
    """One instruction. `shapes` are the arrays of its result, of a tuple one after another.

    `operands` are names in the same computation; of a constant or a parameter `given` is what stands in their place.
    `attributes` are as they are printed: `dimensions`, `replica_groups`, `channel_id`, `to_apply`. `called` are the
    computations among them. `origin` is how JAX came to it, the primitive last: `jit(f)/while/body/dot_general`.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    given: str
    attributes: Mapping[str, str]
    called: tuple[str, ...]
    computation: str
    is_root: bool
    line: Line
    origin: str

    @property
    def primitive(self) -> str:
        return self.origin.rpartition("/")[2]


@dataclass(frozen=True)
class Module:
    """A compiled program: computations by name, each its instructions in the order of their text."""

    entry: str
    computations: Mapping[str, tuple[Instruction, ...]] = field(default_factory=dict)

    @property
    def instructions(self) -> Iterator[Instruction]:
        for body in self.computations.values():
            yield from body

    @cached_property
    def named(self) -> Mapping[tuple[str, str], Instruction]:
        """Every instruction by its computation and its name."""
        return {(each.computation, each.name): each for each in self.instructions}

    @cached_property
    def users(self) -> Mapping[tuple[str, str], Sequence[Instruction]]:
        """By computation and name, what takes an instruction's result there; empty where nothing does."""
        found: dict[tuple[str, str], list[Instruction]] = defaultdict(list)
        for each in self.instructions:
            for name in dict.fromkeys(each.operands):
                found[each.computation, name].append(each)
        return found

    @cached_property
    def callers(self) -> Mapping[str, Sequence[Instruction]]:
        """By computation, the instructions that call it; empty for the entry."""
        found: dict[str, list[Instruction]] = defaultdict(list)
        for each in self.instructions:
            for name in each.called:
                found[name].append(each)
        return found

    @cached_property
    def looped(self) -> frozenset[str]:
        """The computations that run once a turn of a loop: its body, its condition, and what these call."""
        pending = [name for each in self.instructions if each.opcode == "while" for name in each.called]
        found: set[str] = set()
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += [inner for each in self.computations.get(name, ()) for inner in each.called]
        return frozenset(found)


def read(text: str) -> Module:
    """Reads what `Compiled.as_text` gives; raises InfrastructureError where that is no program."""
    tables: dict[str, dict[int, str]] = {name: {} for name in _TABLES}
    bodies: dict[str, list[Instruction]] = {}
    table, computation, entry = "", "", ""
    for row in text.splitlines():
        if row in tables:
            table = row
        elif table and (found := _ROW.match(row)):
            tables[table][int(found["number"])] = found["rest"]
        elif found := _COMPUTATION.match(row):
            table, computation = "", found["name"]
            bodies[computation] = []
            entry = computation if found["entry"] else entry
        elif computation and (found := _INSTRUCTION.match(row)):
            bodies[computation].append(_instruction(found, computation, tables))
        elif row == "}":
            computation = ""
    if not entry or not bodies[entry]:
        raise InfrastructureError(
            "a compiled program cannot be read",
            expected="the text of an HLO module, with an ENTRY",
            got=text[:80] or "nothing",
            try_="a version of jaxlib that the project supports",
        )
    return Module(entry, {name: tuple(body) for name, body in bodies.items()})


def _instruction(found: re.Match[str], computation: str, tables: Mapping[str, Mapping[int, str]]) -> Instruction:
    result, rest = _result(found["rest"])
    opcode = _OPCODE.match(rest)
    if opcode is None:
        raise InfrastructureError(
            "an instruction of a compiled program cannot be read",
            where=f"{found['name']} in {computation}",
            expected="`%name = shape opcode(operands), attributes`",
            got=found["rest"][:80],
        )
    given, *attributes = _split(rest[opcode.end() - 1 :])
    named = dict(part.split("=", 1) for part in attributes if "=" in part)
    metadata = {key: value.strip('"') for key, value in _FIELD.findall(named.pop("metadata", ""))}
    shapes = tuple(
        Shape(each["dtype"], tuple(int(dim.lstrip("<=")) for dim in each["dims"].split(",") if dim))
        for each in _SHAPE.finditer(result)
    )
    literal = opcode["opcode"] in ("constant", "parameter")
    return Instruction(
        name=found["name"],
        opcode=opcode["opcode"],
        shapes=shapes,
        operands=() if literal else tuple(_NAME.findall(given)),
        given=given[1:-1] if literal else "",
        attributes=named,
        called=tuple(
            name
            for key, value in named.items()
            if key != _ORDER and value.startswith(("%", "{%"))
            for name in _NAME.findall(value)
        ),
        computation=computation,
        is_root=bool(found["root"]),
        line=_line(metadata, tables),
        origin=metadata.get("op_name", ""),
    )


def _result(text: str) -> tuple[str, str]:
    """The shape in front of an opcode, and the rest: a tuple's shape has spaces in it."""
    if not text.startswith("("):
        shape, _, rest = text.partition(" ")
        return shape, " " + rest
    end = next(_ends(text))
    return text[:end], text[end:]


def _ends(text: str) -> Iterator[int]:
    """Where each bracket that is in no other ends."""
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "({[":
            depth += 1
        elif found[0] in ")}]":
            depth -= 1
            if depth == 0:
                yield found.end()


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket and no string."""
    parts, start, depth = list[str](), 0, 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "({[":
            depth += 1
        elif found[0] in ")}]":
            depth -= 1
        elif found[0] == "," and depth == 0:
            parts.append(text[start : found.start()].strip())
            start = found.end()
    return [*parts, text[start:].strip()]


def _line(metadata: Mapping[str, str], tables: Mapping[str, Mapping[int, str]]) -> Line:
    if "source_file" in metadata:  # jaxlib before it wrote tables
        return Line(metadata["source_file"], int(metadata.get("source_line", "0")))
    names, functions, locations, frames = (tables[name] for name in _TABLES)
    frame = dict(_FIELD.findall(frames.get(int(metadata.get("stack_frame_id", "0")), "")))
    at = dict(_FIELD.findall(locations.get(int(frame.get("file_location_id", "0")), "")))
    if not at:
        return Line()
    file, function = (
        table.get(int(at[key]), "").strip('"')
        for table, key in ((names, "file_name_id"), (functions, "function_name_id"))
    )
    return Line(file, int(at["line"]), function)
