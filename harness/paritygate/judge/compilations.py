"""Passes compiled for devices that need not be there: what changed against the record, and a row for each."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from paritygate.core.compilation import Compilation
from paritygate.core.drift import Drift, Judgement, Row, Verdict
from paritygate.core.program import Change, Program, ProgramChanges
from paritygate.core.run import Skip
from paritygate.judge.programs import compare, warnings

COMPILED = "compiled"  # the mode of such rows
MEMORY, PROGRAM = "memory", "program"
_REASONS = 3  # changes that a row says


def changes_of(found: Sequence[Compilation], recorded: Iterable[Program]) -> ProgramChanges:
    """What differs, pass by pass. One that was recorded and has no program any more fails; lost ones say nothing."""
    known, said = {(each.name, each.cell): each for each in recorded}, list[Change]()
    for each in found:
        before, name = known.get((each.order.name, each.cell)), each.order.name
        if each.compiled is None:
            if before is not None and each.outcome != "lost":
                said.append(Change(name, each.cell, f"was recorded, and is not there: {each.outcome}, {each.reason}"))
            continue
        if before is not None:
            said += compare(each.compiled.program, before)
        else:
            said.append(Change(name, each.cell, "nothing was recorded", "told"))
        said += warnings(each.compiled.program)
    return ProgramChanges(tuple(sorted(said, key=lambda change: change.weight)))


def rows_of(found: Sequence[Compilation], changes: ProgramChanges, skipped: Iterable[Skip]) -> list[Row]:
    """A row for each pass: within the memory of a device and as recorded, or what it is not."""
    failing: dict[tuple[str, str], list[str]] = {}
    for change in changes.failing:
        failing.setdefault((change.name, change.cell), []).append(change.what)
    rows = [_row(each, failing.get((each.order.name, each.cell), []), place) for place, each in enumerate(found)]
    rows += [
        Row(_line(each.case, each.cell, len(found) + place), Verdict.SKIPPED, reason=each.reason)
        for place, each in enumerate(skipped)
    ]
    return sorted(rows, key=lambda row: (row.drift.case, row.drift.cell))


def _row(found: Compilation, changed: list[str], place: int) -> Row:
    line = _line(found.order.name, found.cell, place)
    room = found.order.target.chip.memory_bytes
    judgements = ()
    if found.needed_bytes:
        share = found.needed_bytes / room
        line = replace(line, metrics={MEMORY: share})
        judgements = (Judgement(MEMORY, share, 0.0, 0.0, share, 1.0, "memory of a device", share <= 1.0),)
    match found.outcome:
        case "lost":
            return Row(line, Verdict.MISSING, reason=found.reason)
        case "failed":
            return Row(line, Verdict.ERROR, reason=f"does not compile: {found.reason}")
        case "too large":
            said = f"needs {found.needed_bytes / 1e9:.2f} of {room / 1e9:.2f} GB a device"
            reason = said if found.compiled else found.reason
            return Row(line, Verdict.OVER_BUDGET, judgements=judgements, reason=reason)
        case "fits" if changed:
            more = [f"and {len(changed) - _REASONS} more"] * (len(changed) > _REASONS)
            return Row(line, Verdict.MISMATCH, judgements=judgements, reason="; ".join([*changed[:_REASONS], *more]))
        case "fits":
            return Row(line, Verdict.PASS, judgements=judgements)


def _line(case: str, cell: str, place: int) -> Drift:
    return Drift(case, cell, COMPILED, case.partition(".")[2], PROGRAM, 0, place, PROGRAM, "", (), "")
