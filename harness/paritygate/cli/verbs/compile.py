"""`compile`: a full-size model for devices that are not here: does it fit, what does it send, how fast can it be."""

import secrets
import time
from enum import StrEnum
from typing import Annotated

import typer

from paritygate.cli.options import Quiet, Timeout, Workers
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode


class PassName(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"
    TRAIN = "train"


SizeName = Annotated[str, typer.Argument(metavar="SIZE", help="scout, maverick, or rehearsal, small enough for cpu:8.")]
TargetName = Annotated[
    str,
    typer.Option("--target", metavar="CHIP:SHAPE", help="v5p:4x4x4, v5e:…, v6e:…, tpu7x:…, h100:8, h200:8, cpu:8."),
]
MeshNames = Annotated[str, typer.Option("--mesh", metavar="NAMES", help="fsdp16tp4 and its like, commas between.")]
PassOf = Annotated[PassName, typer.Option("--mode", help="The pass to compile.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Rows; some for each way that the batch is split.")]
Length = Annotated[int | None, typer.Option("--length", min=1, help="Tokens a row; of decode, those of the cache.")]
Dispatch = Annotated[str, typer.Option("--dispatch", help="How tokens meet experts: auto, dense, ragged, tiled.")]
Sweep = Annotated[bool, typer.Option("--sweep", help="Try layouts, and rank those that fit by their least time.")]
Accept = Annotated[bool, typer.Option("--accept", help="Record the programs in golden/programs, to be held to them.")]


def compile_(
    context: Context,
    size: SizeName,
    target: TargetName,
    mesh: MeshNames = "",
    mode: PassOf = PassName.PREFILL,
    batch: Batch = None,
    length: Length = None,
    dtype: Annotated[str, typer.Option("--dtype", metavar="POLICY", help="The dtype policy.")] = "bf16",
    dispatch: Dispatch = "auto",
    sweep: Sweep = False,
    accept: Accept = False,
    workers: Workers = 1,
    timeout: Timeout = 1800.0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.catalog.full import FULL
    from paritygate.catalog.meshes import batch_ways, parse_axes
    from paritygate.catalog.select import policies
    from paritygate.catalog.sizes import SIZES
    from paritygate.catalog.targets import DEFAULT_LENGTH, DEFAULT_ROWS, default_axes, layouts, parse_target
    from paritygate.cli.compiling import recorded_of
    from paritygate.cli.output import note, say_headed, say_json
    from paritygate.cli.progress import progress
    from paritygate.cli.stages import shown
    from paritygate.core.compilation import Order, require_fitting, written
    from paritygate.core.errors import unknown_name
    from paritygate.judge.compilations import changes_of
    from paritygate.judge.programs import without_lines
    from paritygate.judge.roofline import ranked, timed
    from paritygate.replay.orders import compile_all, refuse_what_is_lacking
    from paritygate.report.compilation import render_compilation, render_sweep
    from paritygate.store.programs import write_programs

    settings, known = settings_of(context), policies()
    if size not in SIZES:
        raise unknown_name("size", size, list(SIZES))
    if dtype not in known:
        raise unknown_name("dtype policy", dtype, list(known))
    row, where = SIZES[size], parse_target(target)
    meshes = [parse_axes(name) for name in mesh.split(",")] if mesh else [default_axes(where)]
    meshes = layouts(where, row.experts) if sweep and not mesh else meshes
    for axes in meshes:
        require_fitting(axes, where, [written(default_axes(where))])
    # One batch for all, so that their times can be compared.
    rows = batch or DEFAULT_ROWS[mode.value] * max(map(batch_ways, meshes))
    orders = [
        Order(row.family, size, where, axes, dtype, mode.value, rows, length or DEFAULT_LENGTH[mode.value], dispatch)
        for axes in meshes
    ]
    refuse_what_is_lacking(orders)
    folder = settings.runs / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-compile-{secrets.token_hex(2)}"
    with progress(settings) as going:
        found = compile_all(
            orders, folder, extensions=settings.extensions, workers=workers, timeout_s=timeout, progress=going
        )
    best = ranked(map(timed, found))
    fits = best[0].outcome == "fits"
    programs = [without_lines(each.compiled.program) for each in best if each.compiled is not None]
    files = write_programs(settings.golden / "programs", FULL, programs) if accept else []
    changed = changes_of(best, recorded_of(settings, best))
    ok = fits and not changed.failing
    lost = not changed.failing and any(each.outcome == "lost" for each in best)
    if as_json:
        say_json({"ok": ok, "compilations": best, "changes": changed.changes})
    elif len(best) > 1:
        say_headed(settings, render_sweep(best, settings.width, settings.color))
    else:
        say_headed(settings, render_compilation(best[0], settings.width, settings.color))
    if not as_json:
        note(settings, *(each.text for each in changed.changes), *(f"recorded  {shown(file)}" for file in files))
    return ExitCode.INFRASTRUCTURE if lost else ExitCode.PASS if ok else ExitCode.DRIFT


VERB = Verb(
    "compile",
    compile_,
    "A full-size model for devices that are not here: memory, collectives, least time.",
    writes=lambda given: "recorded programs" if given["accept"] else "",
)
