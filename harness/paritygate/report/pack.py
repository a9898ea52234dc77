"""Rows of a run as packed blocks, read by `static/data.js`: JSON, gzip, base64; one block says what is in the table.

The block `index` has a line a row, in columns, which is all that the table, its filters and the heat map need;
`metric-3` has the values of one metric; `worst-0-pass` has one kind of detail (`details.py`) of the passing rows among
the first `CHUNK` rows. Those are read when they are asked for. Where a page would be over its cap, details are left out
in the order of `DROPS`.
"""

import base64
import gzip
import json
import math
from dataclasses import dataclass
from typing import Any

from paritygate.core.drift import Row
from paritygate.report.data import row_nearness
from paritygate.report.details import DETAILS, DROPS, Drop, drop_words
from paritygate.report.parts import Part, SitePages, State, Table, Text
from paritygate.report.rounding import short
from paritygate.report.squares import mark_of, state_of
from paritygate.report.words import MEANINGS, bound, metric_words, noise, verdict_item

CHUNK = 2_000  # rows whose details are read together

# A page's size in bytes by its rows: 5 MB up to 18,000 rows, 30 MB from 180,000 on, in a straight line between.
SMALL, LARGE = (18_000, 5_000_000), (180_000, 30_000_000)


Blocks = dict[tuple[str, str, State | str], str]  # by kind, chunk or metric, and state


@dataclass(frozen=True)
class Packed:
    """Blocks by name, and what was left out to stay under the cap, in words."""

    blocks: dict[str, str]
    dropped: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(map(len, self.blocks.values()))


def cap_bytes(rows: int) -> int:
    """The largest page of a run of so many rows."""
    (few, least), (many, most) = SMALL, LARGE
    part = min(max((rows - few) / (many - few), 0.0), 1.0)
    return round(least + part * (most - least))


def pack(pages: SitePages, room: int) -> Packed:
    """The rows of all pages, in their order, in at most `room` characters as far as details can be left out."""
    rows = [row for page in pages.pages for row in page.rows]
    states = list(map(state_of, rows))
    strings: dict[str, int] = {}
    blocks: Blocks = {}
    for start in range(0, len(rows), CHUNK):
        chunk = list(zip(rows[start : start + CHUNK], states[start : start + CHUNK], strict=True))
        for detail in DETAILS:
            for state in sorted({state for _, state in chunk}):
                values = [detail.of(row, _index(strings)) or 0 for row, s in chunk if s == state]
                if any(values):
                    blocks[detail.name, str(start // CHUNK), state] = _block(values)
    judged = {j.metric for row in rows for j in row.judgements}
    metrics = sorted({name for row in rows for name in row.drift.metrics}, key=lambda name: (name not in judged, name))
    for i, name in enumerate(metrics):
        blocks["metric", str(i), "judged" if name in judged else "all"] = _block(
            [short(row.drift.metrics[name]) if name in row.drift.metrics else None for row in rows]
        )
    index = _table(pages, rows, states) | {"metrics": metrics, "strings": list(strings), "chunk": CHUNK}
    index |= {"rising": [name for name in metrics if name in pages.rising]}
    index |= {"details": [detail.name for detail in DETAILS]}
    index |= {"commands": [[each.does, each.text] for each in pages.commands]}
    index |= {"meanings": {name: MEANINGS[name] for name in sorted({row.diagnosis for row in rows if row.diagnosis})}}
    said = {i: pages.said[row.drift.key] for i, row in enumerate(rows) if row.drift.key in pages.said}
    always = {"said": _block({i: list(map(_part, parts)) for i, parts in said.items()})} if said else {}
    taken = len(_block(index)) + sum(map(len, always.values())) + 1_000  # the words for what is dropped
    kept, dropped = fit(blocks, room - taken)
    named = {"index": _block(index | {"dropped": [[drop.detail, drop.state, drop_words(drop)] for drop in dropped]})}
    named |= {"-".join(part for part in key if part not in ("judged", "all")): text for key, text in kept.items()}
    named |= always
    return Packed(named, tuple(map(drop_words, dropped)))


def fit(blocks: Blocks, room: int) -> tuple[Blocks, list[Drop]]:
    """The blocks that are kept in `room` characters, and what is dropped for it, in the order of `DROPS`."""
    kept, dropped = dict(blocks), []
    for drop in DROPS:
        if sum(map(len, kept.values())) <= room:
            break
        fewer = {key: text for key, text in kept.items() if not _is_of(key, drop)}
        dropped += [drop] if len(fewer) < len(kept) else []
        kept = fewer
    return kept, dropped


def _is_of(key: tuple[str, str, str], drop: Drop) -> bool:
    name, _, state = key
    return (name, state) == (("metric", "all") if drop.state == "all" else (drop.detail, drop.state))


def _table(pages: SitePages, rows: list[Row], states: list[Any]) -> dict[str, Any]:
    """What the table shows: names by column, and for each row the place of its name, or a number."""
    worst = [row.worst_judgement for row in rows]
    columns = {
        "case": (pages.cases, [row.drift.case for row in rows]),
        "cell": (tuple(dict.fromkeys(cell for cell, _ in pages.places)), [row.drift.cell for row in rows]),
        "mode": (tuple(dict.fromkeys(mode for _, mode in pages.places)), [row.drift.mode for row in rows]),
        "port": ((), [row.drift.port + (f"#{row.drift.call}" if row.drift.call else "") for row in rows]),
        "kind": ((), [row.drift.kind for row in rows]),
        "verdict": ((), [verdict_item(row).text for row in rows]),
        "diagnosis": (("",), [row.diagnosis.value for row in rows]),
        "state": ((), states),
        "mark": ((), list(map(mark_of, rows))),
        "judged": (("",), [metric_words(row, j) if j else "" for row, j in zip(rows, worst, strict=True)]),
    }
    names, places = {}, {}
    for column, (known, texts) in columns.items():
        found = {text: i for i, text in enumerate(dict.fromkeys((*known, *texts)))}
        names[column], places[column] = list(found), [found[text] for text in texts]
    numbers = {
        "share": [None if math.isinf(near := row_nearness(row)) else short(near) for row in rows],
        "measured": [short(j.value) if j else None for j in worst],
        "rho": [short(j.ratio) if j and noise(j) > 0 else None for j in worst],
        "limit": [short(bound(j)) if j else None for j in worst],
    }
    return {
        "sites": [page.site for page in pages.pages],
        "anchors": [page.anchor for page in pages.pages],
        "sizes": [len(page.rows) for page in pages.pages],
        "labels": dict(pages.labels),
        "names": names,
        "places": places,
        "numbers": numbers,
    }


def _part(part: Part) -> list[Any]:
    """A text or a table as the page's script draws it."""
    match part:
        case Text():
            return [part.tone.value, part.text]
        case Table():
            kept = part.kept
            columns = [[part.columns[i].title, part.columns[i].align] for i in kept]
            return ["table", columns, [[[row[i].text, row[i].tone.value] for i in kept] for row in part.rows]]
        case _:
            raise TypeError(f"{type(part).__name__} is not packed: what is said of a row is texts and tables")


def _index(strings: dict[str, int]) -> Any:
    return lambda text: strings.setdefault(text, len(strings))


def _block(data: Any) -> str:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
