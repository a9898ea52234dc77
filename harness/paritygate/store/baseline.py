"""Accepted drifts. Reads and writes `golden/baselines/PLATFORM.jsonl`: one line a row, sorted, each with a reason.

Adds to `golden/audit.jsonl` a line for each act of accepting.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from paritygate.core.budget import Accepted, Approval, Proposal
from paritygate.core.cell import Cell
from paritygate.core.codec import canonical, from_json, said
from paritygate.core.drift import APART, Diagnosis, Drift, Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.core.histogram import TAIL
from paritygate.core.run import RunInfo, append_line, write_atomic
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


def propose(run_rows: Iterable[Row], select: str, reason: str, run_id: str, path: Path, date: str) -> list[Proposal]:
    """What accepting the drifts of the rows that `select` matches would write, beside what is there. Writes nothing.

    `select` is a glob over `case/cell/mode/site:port`, with `#N` behind a call after the first; `*` matches any
    characters, `/` too: `tiny-scout.long/bf16/*/layers.3.*`. `path` is the folder of baselines. Raises UsageError on an
    empty reason, a glob that matches nothing, or a row without a judged number.
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
    there = read_baseline(path)
    return [
        Proposal(
            there.get(row.drift.key),
            Accepted(
                *row.drift.key, _numbers(row), str(row.verdict), reason.strip(), run_id, date,
                {j.metric: j.share for j in row.judgements}, row.drift.digest,
            ),
        )
        for row in chosen
    ]  # fmt: skip


def refuse_planted(info: RunInfo) -> None:
    """Raises UsageError where a fault was planted in the candidate: nothing of such a run is ever accepted."""
    if info.fault:
        raise UsageError(
            "run is of a candidate with a planted fault",
            where=info.id,
            expected="a run of the candidate as it is",
            got=f"--fault {info.fault}",
            try_=f"paritygate run {info.suite}",
        )


def refuse_semantic(rows: Iterable[Row], select: str) -> None:
    """A semantic fault is a bug in the candidate, and a glob that is meant for rounding must not accept one unseen."""
    chosen = [row for row in rows if fnmatchcase(_text(row.drift), select)]
    found = [_text(row.drift) for row in chosen if row.diagnosis is Diagnosis.SEMANTIC]
    if found:
        more = [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
        raise UsageError(
            f"{len(found)} of {len(chosen)} rows compute something else",
            where=select,
            expected="rows whose diagnosis is not semantic",
            got="\n            ".join([*found[:SHOWN], *more]),
            try_="a glob that leaves them out, or --semantic where the reference is what is wrong",
        )


def approve(proposals: Sequence[Proposal], path: Path, who: str, select: str, when: str) -> Approval:
    """Writes what was proposed, in the file of each platform, and says in `audit.jsonl` beside the folder who did.

    The only writer of a baseline. The audit comes first: after a kill in between it has an act too many, not too few.
    """
    lines = read_baseline(path)
    before = _content(lines)
    lines |= {each.after.key: each.after for each in proposals}
    after, first = _content(lines), proposals[0].after
    approval = Approval(
        when, who, first.run, select, first.reason, len(proposals),
        tuple(line_hash(each.after) for each in proposals), _hash(before), _hash(after),
    )  # fmt: skip
    append_line(audit_of(path), canonical(approval))
    for file, content in after.items():
        if content != before.get(file):
            write_atomic(path / file, content.encode())
    return approval


def audit_of(path: Path) -> Path:
    """Where it is kept who accepted what: beside the folder of baselines, each file of which is a platform's."""
    return path.parent / "audit.jsonl"


def read_audit(path: Path) -> list[Approval]:
    """Every act of accepting, the oldest first. Raises UsageError on a line that cannot be read."""
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), 1):
        try:
            found.append(from_json(Approval, json.loads(text), f"{path.name}:{number}"))
        except ValueError as reason:
            raise UsageError("line cannot be read", where=f"{path}:{number}", got=str(reason)) from reason
    return found


def unvouched(path: Path) -> list[str]:
    """The rows of the baselines whose line no act of accepting wrote as it is: put in or changed by another hand.

    Line by line, so that two branches may each accept something and be merged.
    """
    known = {each for approval in read_audit(audit_of(path)) for each in approval.lines}
    return [_text(line) for line in read_baseline(path).values() if line_hash(line) not in known]


def line_hash(line: Accepted) -> str:
    """A field that is at its default does not count: one that is new leaves every line as good as it was."""
    return hashlib.sha256(canonical(said(line)).encode()).hexdigest()[:16]


def _content(lines: Mapping[Key, Accepted]) -> dict[str, str]:
    """Each platform's file: one line a row, sorted."""
    platforms = sorted({Cell.parse(key[1]).platform for key in lines})
    return {
        f"{platform}.jsonl": "".join(
            canonical(lines[key]) + "\n" for key in sorted(lines) if Cell.parse(key[1]).platform == platform
        )
        for platform in platforms
    }


def _hash(files: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(files.values()).encode()).hexdigest() if files else ""


def _numbers(row: Row) -> dict[str, float]:
    """Every metric of a row, and what was judged that is none: its tail, its difference to one device."""
    return {**row.drift.metrics, **{j.metric: j.value for j in row.judgements if j.metric in (TAIL, APART)}}


def _text(row: Drift | Accepted) -> str:
    return f"{row.case}/{row.cell}/{row.mode}/{address(row.site, row.port, row.call)}"


def _words() -> str:
    return " or ".join(ACCEPTABLE)
