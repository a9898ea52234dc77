"""A compiled program against what was recorded of it: multisets of what devices exchange and hold, memory and work."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from paritygate.core.program import Change, Collective, Program, ProgramChanges, Replicated, Weight

# A patch release of XLA may lay out buffers anew; what doubles a tensor of the model is far more than this.
GROWTH = 1.05

Part = TypeVar("Part", Collective, Replicated)


def changes(found: Iterable[Program], recorded: Iterable[Program]) -> ProgramChanges:
    """What differs, program by program. Of a cell that has a record, one more program fails, and one less.

    A cell without a record is told, and so is what is doubtful in a program whatever was recorded.
    """
    known = {(each.name, each.cell): each for each in recorded}
    cells = {cell for _, cell in known}
    said: list[Change] = []
    bare: dict[str, None] = {}
    for program in found:
        before = known.pop((program.name, program.cell), None)
        if before is not None:
            said += compare(program, before)
        elif program.cell in cells:
            said.append(Change(program.name, program.cell, "is not recorded, where other programs of the cell are"))
        else:
            bare[program.cell] = None
        said += warnings(program)
    said += [Change(each.name, each.cell, "was recorded, and is not there") for each in known.values()]
    said += [Change("all programs", cell, "nothing was recorded", "told") for cell in bare]
    return ProgramChanges(tuple(sorted(said, key=lambda each: each.weight)))


def warnings(program: Program) -> list[Change]:
    """What is doubtful in a program whatever was recorded of it."""
    return [
        Change(program.name, program.cell, f"{each.rule}: {each.what}{_place(each.line, each.where)}", "told")
        for each in program.warned
    ]


def compare(found: Program, recorded: Program) -> list[Change]:
    """What differs between two programs of one name and cell. Line numbers are said, and not compared.

    Other versions than those that were recorded excuse nothing: each change says them.
    """
    said: list[tuple[str, Weight]] = []
    for what in (*_parts(found.collectives, recorded.collectives), *_parts(found.replicated, recorded.replicated)):
        said.append((what, "fails"))
    for kind in sorted({*found.memory_bytes, *recorded.memory_bytes}):
        now, before = found.memory_bytes.get(kind, 0), recorded.memory_bytes.get(kind, 0)
        said += _grown(f"{kind} memory of a device", now, before, (_size(now), _size(before)))
    said += _grown("FLOPs of a device", found.flops, recorded.flops, (f"{found.flops:.4g}", f"{recorded.flops:.4g}"))
    note = _versions(found, recorded)
    return [Change(found.name, found.cell, what + note, weight) for what, weight in said]


def without_lines(program: Program) -> Program:
    """What is recorded of a program: a comment above a line changes nothing of it."""
    return replace(program, collectives=_merged(program.collectives), replicated=_merged(program.replicated))


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(
        replace(key, count=count) for key, count in sorted(_multiset(parts).items(), key=lambda each: str(each))
    )


def _multiset(parts: Sequence[Part]) -> Counter[Part]:
    counts: Counter[Part] = Counter()
    for each in parts:
        counts[replace(each, line="", count=1)] += each.count
    return counts


def _parts(found: Sequence[Part], recorded: Sequence[Part]) -> Iterator[str]:
    """More first: those that are gone often became others."""
    now, before = _multiset(found), _multiset(recorded)
    lines: dict[Part, dict[str, None]] = {}
    for each in found:
        lines.setdefault(replace(each, line="", count=1), {})[each.line] = None
    for part, count in (now - before).items():
        at = ", ".join(filter(None, lines[part]))
        yield f"{_number(count)} more {_described(part)}{_place(at, part.where)}"
    for part, count in (before - now).items():
        yield f"{_number(count)} less {_described(part)}{_place('', part.where)}"


def _described(part: Collective | Replicated) -> str:
    """`all-gather of [5120, 16384] over tp, 160 MiB per turn of a loop of 48`"""
    array = f"{list(part.dims)} {part.dtype}"
    if isinstance(part, Replicated):
        return f"{part.name or 'tensor'} {array} whole on every device, {_size(part.bytes)}"
    turn = f" per turn of a loop of {part.turns}" if part.turns > 1 else " per turn of a loop" * (part.loop == "loop")
    of = f"{part.weight} {array}" if part.weight else array
    return f"{part.kind} of {of} over {part.axes}, {_size(part.bytes)}{turn}"


def _place(line: str, where: str) -> str:
    if not line:
        return f", in {where}" if where else ", at no line of the program"
    return f", at {line} ({where})"


def _grown(what: str, now: float, before: float, words: tuple[str, str]) -> list[tuple[str, Weight]]:
    if now == before:
        return []
    weight: Weight = "fails" if now > before * GROWTH else "told"
    return [(f"{what}: {words[0]}, where {words[1]} was recorded", weight)]


def _versions(found: Program, recorded: Program) -> str:
    other = [
        f"{name} {version}, where {found.versions.get(name, 'none')} compiles today"
        for name, version in sorted(recorded.versions.items())
        if found.versions.get(name) != version
    ]
    return f" (recorded with {'; '.join(other)})" if other else ""


def _number(count: int) -> str:
    return "one" if count == 1 else str(count)


def _size(size: int) -> str:
    for unit, least in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= least:
            return f"{size / least:.4g} {unit}"
    return f"{size} B"
