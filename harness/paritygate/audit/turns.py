"""How often each computation of a compiled program runs: turns of the loops around it, multiplied."""

import re
from collections import defaultdict
from collections.abc import Mapping

from paritygate.audit.hlo import Instruction, Module

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SAME = ("copy", "bitcast", "convert")


def executions(module: Module) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Times by computation, and the loops, by line, whose turns are not known and count as one.

    Of the branches of a conditional each counts as if it were taken.
    """
    callers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    unknown: dict[str, None] = {}
    for each in module.instructions:
        times = 1
        if each.opcode == "while":
            found = turns(each, module)
            times = 1 if found is None else found
            if found is None:
                unknown[each.line.short if each.line.file else each.name] = None
        for name in each.called:
            callers[name][each.computation] += times
    known: dict[str, int] = {module.entry: 1}

    def count(name: str) -> int:
        if name not in known:
            known[name] = sum(times * count(caller) for caller, times in callers[name].items())
        return known[name]

    return {name: count(name) for name in module.computations}, tuple(unknown)


def turns(loop: Instruction, module: Module) -> int | None:
    """What XLA says, or where it says nothing, what a counter compared with a constant gives; None for neither."""
    if found := _KNOWN.search(loop.attributes.get("backend_config", "")):
        return int(found[1])
    condition, body = (_Body(module, loop.attributes[name].lstrip("%")) for name in ("condition", "body"))
    compare = condition.root
    if compare.opcode != "compare" or compare.attributes.get("direction") != "LT":
        return None
    counter, end = (condition.source(name) for name in compare.operands)
    if counter.opcode != "get-tuple-element":
        return None
    place = int(counter.attributes["index"])
    around = _Body(module, loop.computation)
    given = around.source(loop.operands[0])
    if given.opcode != "tuple" or body.root.opcode != "tuple":
        return None
    last, first, step = _constant(end), _constant(around.source(given.operands[place])), _step(body, place)
    if last is None or first is None or not step:
        return None
    return max(0, -(-(last - first) // step))


class _Body:
    """The instructions of a computation by name."""

    def __init__(self, module: Module, name: str):
        instructions = module.computations[name]
        self._named = {each.name: each for each in instructions}
        self.root = next(each for each in instructions if each.is_root)

    def source(self, name: str) -> Instruction:
        """What a value is a copy of."""
        found = self._named[name]
        while found.opcode in _SAME:
            found = self._named[found.operands[0]]
        return found


def _step(body: _Body, place: int) -> int | None:
    """What a turn adds to the counter, where that is a constant."""
    added = body.source(body.root.operands[place])
    if added.opcode != "add":
        return None
    sides = [body.source(name) for name in added.operands]
    counters = [side for side in sides if side.opcode == "get-tuple-element" and side.attributes["index"] == str(place)]
    constants = [value for side in sides if (value := _constant(side)) is not None]
    return constants[0] if counters and constants else None


def _constant(instruction: Instruction) -> int | None:
    return int(instruction.given) if instruction.opcode == "constant" and instruction.given.isdigit() else None
