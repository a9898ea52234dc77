"""`seeds`: the port as it is on other weights and other text: does the gate raise a false alarm?"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from paritygate.cli.options import DEFAULT_CELLS, Cells, NoCache, Quiet, Timeout, Workers
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode
from paritygate.core.seed import Seed, nearest

ALARMS_SHOWN = 40
SHARES_SHOWN = 20

Cases = Annotated[
    list[str] | None,
    typer.Argument(metavar="CASE...", help="Suites, presets, cases, globs; all suites with goldens if left out."),
]
Count = Annotated[int, typer.Option("--count", min=1, help="How many seeds.")]
First = Annotated[int, typer.Option("--first", min=0, help="The first of them; 0 is the family's own.")]
Keep = Annotated[
    Path | None,
    typer.Option("--keep", metavar="FOLDER", help="Where seeds are kept: those in it are judged again, not replayed."),
]


def seeds(
    context: Context,
    cases: Cases = None,
    count: Count = 20,
    first: First = 1,
    cells: Cells = DEFAULT_CELLS,
    keep: Keep = None,
    workers: Workers = None,
    timeout: Timeout = 1800.0,
    no_compile_cache: NoCache = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.catalog.select import select_cells
    from paritygate.cli.output import note, plural, say, say_json
    from paritygate.cli.progress import progress
    from paritygate.cli.seeding import Seeding, cases_of
    from paritygate.cli.stages import read_budgets

    settings = settings_of(context)
    read_budgets(settings)  # a mistake in the budgets is found before an hour is spent
    chosen, selected = cases_of(settings, cases or ()), select_cells(cells)
    folder = keep or Path(tempfile.mkdtemp(prefix="paritygate-seeds-"))
    cache = None if no_compile_cache else settings.cache
    seeding = Seeding(settings, chosen, selected, folder, workers, timeout, cache)
    judged: list[Seed] = []
    for number in range(first, first + count):
        began, run = time.monotonic(), seeding.replayed(number)
        if run is None:
            with progress(settings, f"seed {number}") as shown:
                run = seeding.replay(number, shown)
            how = f"{time.monotonic() - began:.0f} s"
        else:
            how = "replayed before"
        judged.append(seeding.judged(number, run))
        if not as_json:
            note(settings, _line(judged[-1], how))
    code = _code(judged)
    if as_json:
        say_json(
            {"exit_code": int(code), "seeds": judged, "shares": nearest(s for seed in judged for s in seed.shares)}
        )
    else:
        note(settings, *_summary(judged))
        what = f"{plural(count, 'seed')} of {plural(len(chosen), 'case')} in {plural(len(selected), 'cell')}"
        say(f"{what}: {sum(seed.rows for seed in judged):,} values, {_alarms(sum(len(s.alarms) for s in judged))}")
        note(settings, f"next    {_next(judged)}")
    if keep is None and code is ExitCode.PASS:
        shutil.rmtree(folder)
    return code


def _code(judged: Sequence[Seed]) -> ExitCode:
    """An alarm before trouble with a worker: it stays true whatever else went wrong."""
    codes = {seed.code for seed in judged} - {ExitCode.PASS}
    return ExitCode.DRIFT if ExitCode.DRIFT in codes else max(codes, default=ExitCode.PASS)


def _alarms(count: int) -> str:
    return f"{count:,} FALSE ALARM{'S' * (count > 1)}" if count else "no false alarm"


def _line(seed: Seed, how: str) -> str:
    near = f"; nearest {seed.shares[0].share:.3g} of {seed.shares[0].rule}" if seed.shares else ""
    unclear = f"; without {', '.join(seed.unclear)}, no prompt of which has clear routing" if seed.unclear else ""
    skipped = f"; {len(seed.skipped):,} skipped" if seed.skipped else ""
    problems = "".join(f"; problem: {problem}" for problem in seed.problems)
    said = f"{_alarms(len(seed.alarms))}{skipped}{near}{unclear}{problems}"
    return f"seed {seed.number}: {seed.rows:,} values, {said}; {how}"


def _summary(judged: Sequence[Seed]) -> list[str]:
    """The alarms, what came nearest to its limit, and which prompts capture passed over."""
    alarms = [(seed.number, row) for seed in judged for row in seed.alarms]
    lines = [""] if alarms else []
    for number, row in alarms[:ALARMS_SHOWN]:
        drift, blame = row.drift, f"{row.diagnosis} of {row.origin}" if row.origin else str(row.diagnosis)
        where = f"{drift.case}/{drift.cell}/{drift.mode}/{drift.address}"
        lines.append(f"seed {number}  {where}  {row.verdict}, {blame}: {row.reason}")
    if len(alarms) > ALARMS_SHOWN:
        lines.append(f"and {len(alarms) - ALARMS_SHOWN:,} more: --json has them all")
    lines += ["", "share of the budget, the nearest row of each rule, cell and mode"]
    shares = nearest(share for seed in judged for share in seed.shares)
    for share in shares[:SHARES_SHOWN]:
        lines.append(
            f"{share.share:7.3g}  {share.rule:<22} {share.cell:<16} {share.mode:<9} {share.values:>9,} values  "
            f"{share.metric} {share.ratio:.3g} of {share.limit:.3g}: seed {share.seed}, {share.case} {share.address}"
        )
    if len(shares) > SHARES_SHOWN:
        lines.append(f"and {len(shares) - SHARES_SHOWN} that stayed further away")
    refused = Counter[str]()
    for seed in judged:
        refused.update(seed.refused)
    if refused:
        of_each = ", ".join(f"{case} {count}" for case, count in refused.most_common())
        lines += ["", f"prompts refused for near ties: {refused.total():,} ({of_each})"]
    if skipped := Counter((row.drift.address, row.reason) for seed in judged for row in seed.skipped):
        lines += [f"skipped {count:,} times: {address}, {reason}" for (address, reason), count in skipped.items()]
    if unclear := Counter(case for seed in judged for case in seed.unclear):
        of_each = ", ".join(f"{case} in {count}" for case, count in unclear.most_common())
        lines.append(f"cases left out, in so many seeds, for want of a prompt with clear routing: {of_each}")
    return [*lines, ""]


def _next(judged: Sequence[Seed]) -> str:
    alarmed = next((seed for seed in judged if seed.code is not ExitCode.PASS), None)
    if alarmed is None:
        return "paritygate mutate"
    return f"paritygate locate {alarmed.folder}"


VERB = Verb("seeds", seeds, "Other seeds of weights and text: exit code 1 where the gate raises a false alarm.")
