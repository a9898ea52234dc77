"""`capture`: reference → golden."""

from typing import Annotated

import typer

from paritygate.cli.options import Quiet, Within
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode
from paritygate.core.family import Case

Cases = Annotated[list[str], typer.Argument(metavar="CASE...", help="Cases, globs over cases, presets, or suites.")]
LowPrecisionName = Annotated[
    str,
    typer.Option(
        "--low-precision",
        metavar="PATH",
        help="How 16-bit peers multiply: native (torch's kernels), upcast (in float32, rounded once), or auto.",
    ),
]


def capture(
    context: Context,
    cases: Cases,
    suite: Within = "",
    low_precision: LowPrecisionName = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import note, plural, say, say_json
    from paritygate.cli.progress import progress
    from paritygate.cli.stages import select, select_low_precision, shown
    from paritygate.store.golden import GoldenStore

    settings, products = settings_of(context), select_low_precision(low_precision)
    wanted: dict[str, list[Case]] = {}
    for text in cases:
        name, found = select(text, suite)
        wanted.setdefault(name, []).extend(case for case in found if case not in wanted.get(name, []))

    from paritygate.reference.build import with_peers  # torch: not before every name is known
    from paritygate.reference.capture import capture as capture_cases
    from paritygate.reference.capture import pieces_of

    store = GoldenStore(settings.golden)
    with progress(settings) as going:
        going.planned(
            [[piece for chosen in wanted.values() for piece in pieces_of(chosen, with_peers())]],
            noun="passes of the reference",
        )
        tell = (lambda line: None) if as_json else going.say
        made = {
            name: capture_cases(chosen, name, store, tell, low_precision=products, progress=going)
            for name, chosen in wanted.items()
        }
    if as_json:
        say_json(
            {
                name: {
                    g.case.id: {
                        "ports": len(g.ports),
                        "sha256": store.manifest_hash(name, g.case.id),
                        "low_precision_matmul": g.provenance["low_precision_matmul"],
                    }
                    for g in goldens
                }
                for name, goldens in made.items()
            }
        )
    else:
        total = sum(map(len, made.values()))
        say(f"captured {plural(total, 'case')} into {shown(settings.golden)}")
        note(settings, f"next    paritygate run {next(iter(made))}")
    return ExitCode.PASS


VERB = Verb("capture", capture, "Capture goldens from the torch reference.", writes=lambda given: "goldens")
