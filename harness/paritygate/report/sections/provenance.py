"""Where the numbers come from: command, versions, golden hashes, and the environment of every worker."""

from collections.abc import Mapping
from typing import Any

from paritygate.report.data import ReportData
from paritygate.report.parts import (
    PROSE,
    Column,
    Details,
    Heading,
    Item,
    KeyValues,
    Part,
    Preformatted,
    Section,
    Table,
    Tone,
)
from paritygate.report.words import memory, seconds


def build(data: ReportData) -> list[Part]:
    info = data.info
    pairs = [
        ("run", Item(info.id, Tone.CODE)),
        ("suite", Item(info.suite)),
        ("started", Item(info.started)),
        ("command", Item(" ".join(info.command), Tone.CODE)),
        ("cells", Item(", ".join(info.cells), Tone.CODE)),
        ("modes", Item(", ".join(info.modes))),
        *([("planted fault", Item(info.fault, Tone.CODE))] if info.fault else []),
    ]
    parts: list[Part] = [KeyValues(tuple(pairs))]
    if info.floors:
        lines = tuple((Item(cell, Tone.CODE), Item(words)) for cell, words in info.floors.items())
        parts += [Heading("Noise floors"), Table((Column("cell"), Column("its floor comes from", least=PROSE)), lines)]
    if info.skipped:
        skips = tuple((Item(s.cell, Tone.CODE), Item(s.case or "all"), Item(s.reason)) for s in info.skipped)
        columns = (Column("cell"), Column("case"), Column("why", least=PROSE))
        parts += [Heading("Not replayed"), Table(columns, skips)]
    if info.budgets:
        judged = (("budgets", info.budgets), ("baseline", info.baseline or "none"))
        pairs = tuple((name, Item(digest, Tone.CODE)) for name, digest in judged)
        parts += [Heading("Judged by, as sha256"), KeyValues(pairs)]
    if info.versions:
        parts += [Heading("Versions"), KeyValues(_pairs(info.versions))]
    if info.goldens:
        lines = tuple((Item(case), Item(digest, Tone.CODE)) for case, digest in sorted(info.goldens.items()))
        parts += [Heading("Goldens"), Table((Column("case"), Column("sha256 of the manifest")), lines)]
    if data.golden_provenance:
        parts.append(Details(Item("How the goldens were captured"), (Preformatted(data.golden_provenance),)))
    if info.workers:
        parts.append(Heading("Workers"))
        parts += [
            Details(Item(_worker(i, worker)), (KeyValues(_pairs(worker)),)) for i, worker in enumerate(info.workers, 1)
        ]
    return parts


def _worker(number: int, worker: Mapping[str, Any]) -> str:
    cells = worker.get("cells") or worker.get("cell") or ()
    named = cells if isinstance(cells, str) else ", ".join(map(str, cells))
    return f"worker {number}" + (f": {named}" if named else "")


def _pairs(record: Mapping[str, Any]) -> tuple[tuple[str, Item], ...]:
    """A record as lines, nested records by dotted name, numbers with a unit in the words of the report."""
    pairs: list[tuple[str, Item]] = []
    for key, value in sorted(record.items()):
        if isinstance(value, Mapping):
            pairs += [(f"{key}.{inner}", item) for inner, item in _pairs(value)]
        elif isinstance(value, list | tuple):
            pairs.append((key, Item(" ".join(map(str, value)), Tone.CODE)))
        elif key.endswith("_bytes") and isinstance(value, int | float):
            pairs.append((key.removesuffix("_bytes"), Item(memory(value))))
        elif key.endswith("_s") and isinstance(value, int | float):
            pairs.append((key.removesuffix("_s"), Item(seconds(value))))
        else:
            pairs.append((key, Item(str(value), Tone.CODE)))
    return tuple(pairs)


SECTION = Section("provenance", 60, "Provenance", build)
