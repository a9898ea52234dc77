"""`manifest`: files by which Kubernetes or Slurm starts workers; it writes them, and whoever may submit them does."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paritygate.cli.options import CellsOfSuite
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode


class EngineName(StrEnum):
    JOBSET = "jobset"
    SLURM = "slurm"


Engine = Annotated[EngineName, typer.Argument(metavar="ENGINE", help="jobset (Kubernetes) or slurm.")]
Suite = Annotated[str, typer.Argument(metavar="SUITE", help="What a mesh over several hosts runs; tiny if left out.")]
Server = Annotated[
    str,
    typer.Option("--server", metavar="URL", help="Which service workers work for; PARITYGATE_SERVER if left out."),
]
Image = Annotated[str, typer.Option("--image", metavar="IMAGE", help="Of the pods: paritygate and the candidate.")]
Targets = Annotated[
    str,
    typer.Option("--target", metavar="CHIP:SHAPE", help="Which accelerators: h100:8, v5p:2x2x2, commas between."),
]
Labels = Annotated[str, typer.Option("--labels", metavar="NAMES", help="Of the workers, beside platform and chip.")]
Count = Annotated[int, typer.Option("--workers", min=1, help="Workers of each platform.")]
Secret = Annotated[str, typer.Option("--secret", metavar="NAME", help="The Secret whose key `token` pods are given.")]
Account = Annotated[str, typer.Option("--account", metavar="NAME", help="The service account of a mesh's pods.")]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")]


def manifest(
    context: Context,
    engine: Engine,
    cases: Suite = "tiny",
    cells: CellsOfSuite = "",
    server: Server = "",
    image: Image = "",
    target: Targets = "",
    labels: Labels = "",
    workers: Count = 1,
    secret: Secret = "paritygate",
    account: Account = "paritygate",
    out: Out = Path(),
    as_json: Json = False,
) -> ExitCode:
    from paritygate.catalog.full import refuse_targets
    from paritygate.catalog.select import cells_of, select_cells
    from paritygate.catalog.targets import parse_target
    from paritygate.cli.output import note, say, say_json
    from paritygate.cli.stages import select, shown
    from paritygate.core.run import write_atomic
    from paritygate.replay.manifests import Asked, check, jobset, machines, slurm

    settings, (suite, _) = settings_of(context), select(cases)
    chosen = select_cells(cells or cells_of(suite))
    refuse_targets(chosen)
    found = machines(chosen, [parse_target(name) for name in target.split(",") if name])
    given = tuple(name for name in labels.split(",") if name)
    asked = Asked(cases, server or settings.server, given, workers, image, secret, account)
    check(engine.value, asked, found)
    written, suffix, submit = (
        (jobset, "json", "kubectl apply -f") if engine is EngineName.JOBSET else (slurm, "sbatch", "sbatch")
    )
    files: list[Path] = []
    for each in found:
        files.append(out / f"{each.name}.{suffix}")
        write_atomic(files[-1], written(each, asked).encode())
    if as_json:
        say_json({"files": [str(file) for file in files]})
    else:
        say(*(f"written  {shown(file)}" for file in files))
        note(settings, *(f"next     {submit} {shlex.quote(shown(file))}" for file in files))
    return ExitCode.PASS


VERB = Verb("manifest", manifest, "Write files by which Kubernetes or Slurm starts workers.")
