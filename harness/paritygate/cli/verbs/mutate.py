"""`mutate`: plants the catalogue of faults in the candidate, one by one, and prints what the gate catches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from paritygate.cli.options import DEFAULT_CELLS, Cells, NoCache, Quiet, Timeout, Workers
from paritygate.cli.verb import Context, Json, Settings, Verb, settings_of
from paritygate.core.cell import SINGLE
from paritygate.core.errors import ExitCode, UsageError
from paritygate.core.fault import Fault
from paritygate.core.mutant import KillMatrix

Globs = Annotated[
    list[str] | None,
    typer.Argument(metavar="FAULT...", help="Faults, groups or kinds by glob; all of them if left out."),
]
Spread = Annotated[
    bool,
    typer.Option("--spread", help="The first of each group and of each kind, in f64 and the cell that must see it."),
]
Write = Annotated[
    bool, typer.Option("--write", help="Write what was found into golden/mutations.jsonl and golden/MUTATIONS.md.")
]

Explain = Annotated[
    bool,
    typer.Option("--explain", help="Which hypothesis, or line, explains each fault; exit code 1 where another does."),
]


def mutate(
    context: Context,
    faults: Globs = None,
    cells: Cells = DEFAULT_CELLS,
    spread: Spread = False,
    write: Write = False,
    explain: Explain = False,
    workers: Workers = None,
    timeout: Timeout = 7200.0,
    no_compile_cache: NoCache = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.catalog import select
    from paritygate.cli.mutants import cells_for, narrowest, plant, write_mutants
    from paritygate.cli.output import note, say, say_json
    from paritygate.cli.stages import shown
    from paritygate.report.kill_matrix import render_text

    settings, selected = settings_of(context), select.select_cells(cells)
    known = select.policies()
    if all(known[cell.dtype].peer for cell in selected):
        raise UsageError("no diagnosis without float64", where="--cells", expected="f64 among them")
    chosen = select.select_faults(faults or ())
    if spread:
        chosen = select.spread(chosen)
    cache = None if no_compile_cache else settings.cache
    if explain:
        if write:
            raise UsageError("explanations are not written", where="--explain", expected="no --write")
        return _explain(settings, [fault for _, fault in chosen], workers, timeout, cache, as_json)
    mutants = plant(
        settings,
        chosen,
        lambda fault: narrowest(fault, cells_for(fault, selected)) if spread else cells_for(fault, selected),
        workers,
        timeout,
        cache,
    )
    matrix = KillMatrix(tuple(mutants))
    written = write_mutants(settings, mutants) if write else None
    if as_json:
        rates = {"kill_rate": matrix.kill_rate, "blame_rate": matrix.blame_rate}
        say_json({"ok": matrix.ok, **rates, "mutants": [replace(mutant, drifts=()) for mutant in mutants]})
    else:
        text = render_text(matrix, select.fault_groups().values()).rstrip()
        say(text.rpartition("\n\n")[2] if settings.quiet else text)
        note(settings, f"written {shown(written)}" if written else "next    paritygate mutate --write")
    return ExitCode.PASS if matrix.ok else ExitCode.DRIFT


def _explain(
    settings: Settings,
    faults: Sequence[Fault],
    workers: int | None,
    timeout_s: float,
    compile_cache: Path | None,
    as_json: bool,
) -> ExitCode:
    from paritygate.cli.blaming import blame_faults
    from paritygate.cli.explaining import explain_faults
    from paritygate.cli.output import note, say, say_json
    from paritygate.report.blame_parts import faults_table
    from paritygate.report.text import render_parts

    semantic = [fault for fault in faults if fault.kind in ("semantic", "decode", "mapping")]
    # A program on several devices is not taken apart line by line.
    of_precision = [fault for fault in faults if fault.kind == "precision" and fault.mesh == SINGLE]
    found = explain_faults(settings, semantic, workers, timeout_s, compile_cache) if semantic else []
    blamed = blame_faults(settings, of_precision, workers, timeout_s, compile_cache) if of_precision else []
    ok = all(each.is_right for each in (*found, *blamed))
    if as_json:
        say_json({"ok": ok, "faults": found, "blamed": blamed})
        return ExitCode.PASS if ok else ExitCode.DRIFT
    for each in found:
        text = each.counterfactual.text if each.counterfactual else "no semantic divergence in float64"
        note(settings, f"{each.fault}  {text}" + ("" if each.is_right else f"; the catalog names {each.named!r}"))
    if found:
        named = [each for each in found if each.named]
        right = sum(each.is_right for each in named)
        whole = sum(each.is_whole for each in found)
        say(f"{len(found)} faults, {whole} explained wholly; {len(named)} name a hypothesis, {right} rightly")
    if blamed:
        note(settings, *render_parts([faults_table(blamed)], settings.width, settings.color))
        first = sum(each.place == 1 for each in blamed)
        most = sum(each.gives_most for each in blamed)
        say(f"{len(blamed)} faults of precision: the planted line is ranked first of {first}, gives most of {most}")
    note(settings, "next    paritygate list faults")
    return ExitCode.PASS if ok else ExitCode.DRIFT


VERB = Verb(
    "mutate",
    mutate,
    "Plant the catalogue of faults; exit code 1 where one is missed or misblamed.",
    writes=lambda given: "the record of planted faults" if given["write"] else "",
)
