"""A run folder → what the index has of it. Reads `run.json` and the judge's files, and of each row only what is kept.

Not by the nouns: a run may have hundreds of thousands of rows, most of whose text is evidence.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

from paritygate.core.codec import from_json
from paritygate.core.drift import Diagnosis, Drift, Row, Verdict
from paritygate.core.errors import ExitCode, HarnessError, UsageError
from paritygate.core.run import Run, RunInfo
from paritygate.core.site import address
from paritygate.judge.gate import exit_code
from paritygate.service.problems import TooLarge
from paritygate.service.summaries import UNJUDGED

WORDS = {
    ExitCode.PASS: "pass",
    ExitCode.DRIFT: "fail",
    ExitCode.INFRASTRUCTURE: "incomplete",
    ExitCode.NOTHING_COMPARED: "nothing compared",
}
_VERDICTS, _DIAGNOSES = frozenset(map(str, Verdict)), frozenset(map(str, Diagnosis))
_LENGTHS = {"case": 256, "cell": 128, "mode": 16, "address": 256, "metric": 64, "digest": 64}
_SHOWN_ONLY = frozenset({"worst", "where", "histogram", "ratios", "error_map", "agreeing"})  # of a drift
_NOTHING = Drift("", "", "", "", "", 0, 0, "", "", (), "")

Place = tuple[str, str, str, str]  # case, cell, mode, address
_Names = dict[str, dict[str, str]]


class Judged(NamedTuple):
    """What is kept of a row: its place, and the columns of the table in their order."""

    place: Place
    verdict: str
    diagnosis: str
    metric: str
    value: float | None
    ratio: float | None
    limit: float | None
    share: float | None
    others: str  # the shares of its other judgements, as JSON; empty where there are none
    accepted: int
    digest: str


@dataclass(frozen=True)
class Known:
    """A run, as far as the index has it."""

    info: RunInfo
    verdict: str
    exit_code: int
    rows: tuple[Judged, ...]
    passed: int
    failed: int
    skipped: int

    @property
    def started(self) -> float:
        return moment(self.info.started)

    @property
    def platforms(self) -> tuple[str, ...]:
        return platforms(self.info.cells)


def read_run(folder: Path, most_rows: int) -> Known:
    """Raises UsageError where a line of it is none, TooLarge where it has more rows than may be."""
    run = Run.open(folder)
    problems = _problems(run.info)
    if problems:
        raise UsageError("run.json does not fit", where=folder.name, got=problems)
    if not run.is_judged:
        return Known(run.info, UNJUDGED, int(ExitCode.USAGE), (), 0, 0, 0)  # as the gate refuses it
    rows, kinds = _rows(folder / "rows.jsonl", most_rows)
    if len(rows) != run.info.rows:
        raise UsageError(
            "rows.jsonl is not what the judge wrote",
            where=folder.name,
            expected=f"{run.info.rows} whole rows, as run.json says",
            got=f"{len(rows)} whole rows",
        )
    gaps = [*run.coverage().gaps, *run.lint().new, *run.program_changes().failing]
    code = exit_code((Row(_NOTHING, Verdict(v), reason=reason) for v, reason in kinds), run.info.problems, gaps)
    passed = sum(n for (verdict, _), n in kinds.items() if verdict == Verdict.PASS)
    skipped = sum(n for (verdict, reason), n in kinds.items() if verdict == Verdict.SKIPPED and reason)
    return Known(run.info, WORDS[code], int(code), rows, passed, len(rows) - passed - skipped, skipped)


def moment(text: str) -> float:
    """`2026-01-02T03:04:05Z` as seconds since 1970; 0 where it is no time."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def platforms(cells: Iterable[str]) -> tuple[str, ...]:
    """`cpu`, and of passes that were compiled only the devices: `v5p`."""
    found = (cell.split(" ")[0].rpartition("/")[2] for cell in cells)
    return tuple(dict.fromkeys(each.partition(":")[0] for each in found))


def _problems(info: RunInfo) -> str:
    """What a column would not take."""
    texts = {"suite": (info.suite, 128), "fault": (info.fault, 128), "started": (info.started, 64)}
    bad = [name for name, (text, most) in texts.items() if not is_plain(text, most)]
    bad += ["cells"] * (not is_plain(" ".join(platforms(info.cells)), 500))
    return ", ".join(bad + ["wall_s"] * (not _is_finite(info.wall_s)))


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number of a thousand digits
        return False


def is_plain(text: str, most: int) -> bool:
    """Whether a database takes it: not too long, no NUL, nothing that is no text."""
    return len(text) <= most and "\0" not in text and not re.search("[\ud800-\udfff]", text)


def _rows(path: Path, most: int) -> tuple[tuple[Judged, ...], Counter[tuple[str, str]]]:
    """Each whole line, and how many there are of each verdict, with a reason (in short) or without."""
    found: list[Judged] = []
    kinds: Counter[tuple[str, str]] = Counter()
    places: dict[Place, Place] = {}  # one object each, and one text for each name
    names: _Names = {name: {} for name in _LENGTHS}
    with path.open("rb") as lines:
        for number, line in zip(count(1), lines, strict=False):
            if not line.endswith(b"\n"):
                break  # cut off by a kill
            if number > most:
                raise TooLarge("run has too many rows", where=path.parent.name, expected=f"at most {most:,}")
            try:
                row = _DECODER.decode(line.decode())
                judged = _judged(row, names)
                kinds[judged.verdict, "said" if row["reason"].strip() else ""] += 1
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as reason:
                got = f"line {reason.lineno}: {reason.msg}" if isinstance(reason, JSONDecodeError) else _said(reason)
                raise UsageError("line is no row", where=f"{path.parent.name}/rows.jsonl:{number}", got=got) from None
            found.append(judged._replace(place=places.setdefault(judged.place, judged.place)))
    return tuple(found), kinds


def _said(reason: Exception) -> str:
    return f"no key {reason}" if isinstance(reason, KeyError) else str(reason)[:200]


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _judged(row: Any, names: _Names) -> Judged:
    """Raises whatever a value of another shape raises."""
    drift, judgements = row["drift"], row["judgements"]
    case, cell, mode = (_text(drift[name], name, names) for name in ("case", "cell", "mode"))
    where = address(_string(drift["site"]), _string(drift["port"]), _whole(drift["call"]))
    place = (case, cell, mode, _text(where, "address", names))
    verdict, diagnosis = row["verdict"], row["diagnosis"]
    if verdict not in _VERDICTS or diagnosis not in _DIAGNOSES:
        raise ValueError(f"verdict {verdict!r:.40} and diagnosis {diagnosis!r:.40} are no words of the judge")
    accepted = 1 if _string(row["accepted"]) else 0
    digest = _plain(drift["digest"], "digest")
    if not judgements:
        return Judged(place, verdict, diagnosis, "", None, None, None, None, "", accepted, digest)
    shares = [(not _truth(j["ok"]), share(_number(j["ratio"]), _number(j["limit"]))) for j in judgements]
    worst = max(range(len(judgements)), key=shares.__getitem__)
    others = {_text(j["metric"], "metric", names): shares[i][1] for i, j in enumerate(judgements) if i != worst}
    one = judgements[worst]
    return Judged(
        place, verdict, diagnosis, _text(one["metric"], "metric", names), _number(one["value"]), _number(one["ratio"]),
        _number(one["limit"]), shares[worst][1], json.dumps(others) if others else "", accepted, digest,
    )  # fmt: skip


def share(ratio: float, limit: float) -> float:
    """As `Judgement.share`."""
    return ratio / limit if limit else ratio


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected a text, got {value!r:.80}")
    return value


def _text(value: Any, name: str, names: _Names) -> str:
    """A text that fits its column. There are few of them, and each is checked, and kept, once."""
    known = names[name].get(value) if type(value) is str else None
    if known is None:
        known = names[name][value] = _plain(value, name)
    return known


def _plain(value: Any, name: str) -> str:
    if not is_plain(_string(value), _LENGTHS[name]):
        raise ValueError(f"{name} is too long, or holds what is no text: {value[:80]!a}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a whole number, got {value!r:.80}")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"expected true or false, got {value!r:.80}")
    return value


def _number(value: Any) -> float:
    number = value if type(value) is float else float(_whole(value))
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number")
    return number


def readable_or_why(folder: Path, most_rows: int) -> Known | HarnessError:
    """The run, or what is wrong with its folder: then it is listed as one that cannot be read."""
    try:
        return read_run(folder, most_rows)
    except HarnessError as reason:
        return reason
    except OSError as reason:
        return UsageError("run cannot be read", where=folder.name, got=reason.strerror or str(reason))


def light_rows(run: Run) -> Iterator[Row]:
    """The judged rows without what only a report shows of them. Raises UsageError as `Run.judged` does."""
    if not run.is_judged:
        yield from run.judged()  # which refuses
        return
    number = 0
    with (run.folder / "rows.jsonl").open("rb") as lines:
        for number, line in zip(count(1), lines, strict=False):
            where = f"{run.folder.name}/rows.jsonl:{number}"
            try:
                row = json.loads(line)
                drift = {name: value for name, value in row["drift"].items() if name not in _SHOWN_ONLY}
                yield from_json(Row, {**{n: v for n, v in row.items() if n != "edges"}, "drift": drift}, where)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as reason:
                raise UsageError("line is no row", where=where, got=_said(reason)) from None
    if number != run.info.rows:
        yield from run.judged()
