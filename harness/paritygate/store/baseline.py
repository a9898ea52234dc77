"""Accepted drifts. Reads and writes `golden/baselines/PLATFORM.jsonl`: one line a row, sorted, each with a reason."""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from paritygate.core.budget import Accepted
from paritygate.core.cell import Cell
from paritygate.core.codec import canonical, from_json
from paritygate.core.drift import APART, Drift, Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.core.histogram import TAIL
from paritygate.core.run import write_atomic
from paritygate.core.site import address

Key = tuple[str, str, str, str, str, int]

# Only a value that was compared, number against number, can be accepted.
ACCEPTABLE = (Verdict.PASS, Verdict.OVER_BUDGET, Verdict.REGRESSED)
SHOWN = 5


def read_baseline(path: Path) -> dict[Key, Accepted]:
    """The accepted rows by key: of one file, or of all files of a folder; none where there is no such path.

    Raises UsageError on a line that cannot be read, is there twice, belongs to another platform's file or accepts
    what cannot be accepted.
    """
    lines: dict[Key, Accepted] = {}
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path] * path.is_file():
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{file}:{number}"
            try:
                line = from_json(Accepted, json.loads(text), where)
            except ValueError as reason:
                raise UsageError("line cannot be read", where=where, got=str(reason)) from reason
            if (platform := Cell.parse(line.cell).platform) != file.stem:
                raise UsageError("line of another platform", where=where, expected=file.stem, got=platform)
            if line.verdict not in ACCEPTABLE:
                raise UsageError("line accepts what cannot be", where=where, expected=_words(), got=line.verdict)
            if not line.reason.strip():
                raise UsageError("line has no reason", where=where)
            if line.key in lines:
                raise UsageError("row is accepted twice", where=where, got=_text(line))
            lines[line.key] = line
    return lines


def approve(run_rows: Iterable[Row], select: str, reason: str, run_id: str, path: Path, date: str) -> list[Accepted]:
    """Accepts the drifts of the rows that `select` matches, and returns their lines. The only writer of a baseline.

    `select` is a glob over `case/cell/mode/site:port`, with `#N` behind a call after the first; `*` matches any
    characters, `/` too: `tiny-scout.long/bf16/*/layers.3.*`. `path` is the folder of baselines; each platform has its
    file there, in which new lines replace old ones of the same row. Nothing is written unless every row can be
    accepted: raises UsageError on an empty reason, a glob that matches nothing, or a row without a judged number.
    """
    if not reason.strip():
        raise UsageError("a baseline needs a reason", try_='--reason "why this drift is right"')
    rows = list(run_rows)
    chosen = [row for row in rows if fnmatchcase(_text(row.drift), select)]
    if not chosen:
        example = _text(rows[0].drift) if rows else "none, for the run has no rows"
        raise UsageError(
            "no row matches", where=select, expected=f"a glob over case/cell/mode/site:port, such as {example}"
        )
    if refused := [row for row in chosen if row.verdict not in ACCEPTABLE]:
        names = [f"{row.verdict} {_text(row.drift)}" for row in refused[:SHOWN]]
        names += [f"and {len(refused) - SHOWN} more"] * (len(refused) > SHOWN)
        raise UsageError(
            f"{len(refused)} of {len(chosen)} rows cannot be accepted",
            where=select,
            expected=_words(),
            got="\n            ".join(names),
            try_="a glob that leaves them out",
        )
    accepted = [
        Accepted(*row.drift.key, _numbers(row), str(row.verdict), reason.strip(), run_id, date) for row in chosen
    ]
    for platform in sorted({Cell.parse(line.cell).platform for line in accepted}):
        file = path / f"{platform}.jsonl"
        lines = read_baseline(file)
        lines |= {line.key: line for line in accepted if Cell.parse(line.cell).platform == platform}
        write_atomic(file, "".join(canonical(lines[key]) + "\n" for key in sorted(lines)).encode())
    return accepted


def _numbers(row: Row) -> dict[str, float]:
    """Every metric of a row, and what was judged that is none: its tail, its difference to one device."""
    return {**row.drift.metrics, **{j.metric: j.value for j in row.judgements if j.metric in (TAIL, APART)}}


def _text(row: Drift | Accepted) -> str:
    return f"{row.case}/{row.cell}/{row.mode}/{address(row.site, row.port, row.call)}"


def _words() -> str:
    return " or ".join(ACCEPTABLE)
