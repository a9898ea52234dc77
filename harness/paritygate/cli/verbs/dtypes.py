"""`dtypes`: what each part of a dtype policy costs at the logits, and the cheapest mixed policy within a budget."""

from typing import Annotated

import typer

from paritygate.cli.options import NoCache, Quiet, Suite, Timeout, Within, Workers
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode

Low = Annotated[
    str, typer.Option("--low", metavar="POLICY", help="The policy whose dtype is the narrow one: bf16, f16.")
]
Nats = Annotated[
    float | None,
    typer.Option("--budget", metavar="NATS", min=0.0, help="KL that a mix may cost; 1.25 × that of --low if left out."),
]
Write = Annotated[
    bool, typer.Option("--write", help="Write what was found into golden/sensitivity.json and golden/DTYPES.md.")
]


def dtypes(
    context: Context,
    cases: Suite = "",
    suite: Within = "",
    low: Low = "bf16",
    budget: Nats = None,
    write: Write = False,
    workers: Workers = None,
    timeout: Timeout = 3600.0,
    no_compile_cache: NoCache = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import note, say_headed, say_json
    from paritygate.cli.sensitivity import sweep, write_sensitivity
    from paritygate.cli.stages import shown
    from paritygate.report.sensitivity import found_mix, render_text

    settings = settings_of(context)
    cache = None if no_compile_cache else settings.cache
    found, page = sweep(settings, cases, suite, low, budget, workers, timeout, cache)
    written = write_sensitivity(settings, found) if write else None
    mix = found_mix(found)
    if as_json:
        say_json({"ok": mix is not None, "mix": mix, "page": str(page), "sensitivity": found})
    else:
        say_headed(settings, render_text(found, settings.width, settings.color))
        note(settings, "", f"page    {shown(page)}")
        note(settings, f"written {shown(written)}" if written else "next    paritygate dtypes --write")
    return ExitCode.PASS if mix is not None else ExitCode.DRIFT


VERB = Verb(
    "dtypes",
    dtypes,
    "What each part of a dtype policy costs at the logits, and the cheapest mix.",
    writes=lambda given: "the record of what dtypes cost" if given["write"] else "",
)
