"""Judged rows of one seed of weights and text → its alarms, and how near the others came. Reads and writes nothing."""

from collections.abc import Mapping, Sequence

from paritygate.core.drift import Row, Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.golden import Golden
from paritygate.core.seed import Seed, Share, nearest
from paritygate.judge.gate import exit_code, is_excused


def judge_seed(
    number: int,
    rows: Sequence[Row],
    goldens: Mapping[str, Golden],
    unclear: Sequence[str],
    problems: Sequence[str],
    folder: str,
) -> Seed:
    """What the gate made of one seed: whatever it does not pass is an alarm."""
    alarms = tuple(row for row in rows if row.verdict is not Verdict.PASS and not is_excused(row))
    code = exit_code(rows, problems)
    refused = {case: int(golden.provenance["prompt_seed"]) for case, golden in goldens.items()}
    return Seed(
        number=number,
        rows=len(rows),
        alarms=alarms,
        skipped=tuple(row for row in rows if is_excused(row)),
        shares=tuple(nearest(share for row in rows for share in _shares(number, row))),
        refused={case: count for case, count in refused.items() if count},
        unclear=tuple(unclear),
        problems=tuple(problems),
        code=ExitCode.DRIFT if alarms and code is ExitCode.PASS else code,
        folder=folder,
    )


def _shares(number: int, row: Row) -> list[Share]:
    drift = row.drift
    return [
        Share(j.rule, drift.cell, drift.mode, 1, number, drift.case, drift.address, j.metric, j.ratio, j.limit)
        for j in row.judgements
    ]
