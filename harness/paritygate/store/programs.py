"""What was recorded of compiled programs: `golden/programs/SUITE/CELL.jsonl`, one collective or tensor a line."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paritygate.core.cell import COMPILED
from paritygate.core.codec import canonical, from_json, to_json
from paritygate.core.errors import UsageError
from paritygate.core.program import Collective, Program, Replicated
from paritygate.core.run import write_atomic


def read_programs(folder: Path, suite: str) -> list[Program]:
    """The programs of a suite, by cell and name; none where nothing was recorded. Raises UsageError on a bad line."""
    return [program for file in sorted((folder / suite).glob("*.jsonl")) for program in _read(file)]


def write_programs(folder: Path, suite: str, programs: Iterable[Program]) -> list[Path]:
    """Replaces what was recorded of the same passes, cases and cells, and returns the files; the only writer.

    A run of one mode leaves what was recorded of another.
    """
    cells: dict[str, list[Program]] = {}
    for program in programs:
        cells.setdefault(program.cell, []).append(program)
    known, files = read_programs(folder, suite), list[Path]()
    for cell, some in cells.items():
        name = cell.removesuffix(COMPILED).replace("/", ".").replace(":", "-")
        file = folder / suite / f"{name}.jsonl"
        passes = [_pass(each) for each in some]
        some += [each for each in known if each.cell == cell and _pass(each) not in passes]
        lines = [line for each in sorted(some, key=lambda each: each.name) for line in _lines(each)]
        write_atomic(file, "".join(canonical(line) + "\n" for line in lines).encode())
        files.append(file)
    return files


def _pass(program: Program) -> tuple[str, str]:
    """Case and way of `tiny-scout.long forward 1`, one for all of its sites; of full sizes the name alone."""
    case, _, what = program.name.partition(" ")
    way = what.split()[0] if what else ""
    return case, way if way in ("", "forward", "backward") else "site"


def _lines(program: Program) -> Iterable[dict[str, Any]]:
    yield {"program": to_json(replace(program, collectives=(), replicated=(), warned=()))}
    yield from ({"collective": to_json(each)} for each in program.collectives)
    yield from ({"replicated": to_json(each)} for each in program.replicated)


def _read(file: Path) -> list[Program]:
    programs: list[Program] = []
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{file}:{number}"
        try:
            ((kind, data),) = json.loads(text).items()
        except (ValueError, AttributeError) as reason:
            raise UsageError("line cannot be read", where=where, got=text[:80]) from reason
        if kind == "program":
            programs.append(from_json(Program, data, where))
        elif kind == "collective" and programs:
            one = from_json(Collective, data, where)
            programs[-1] = replace(programs[-1], collectives=(*programs[-1].collectives, one))
        elif kind == "replicated" and programs:
            tensor = from_json(Replicated, data, where)
            programs[-1] = replace(programs[-1], replicated=(*programs[-1].replicated, tensor))
        else:
            raise UsageError(
                "line belongs to no program", where=where, expected="program, then its collectives", got=kind
            )
    return programs
