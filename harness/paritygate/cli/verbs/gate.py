"""`gate`: the exit code of a judged run."""

from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode


def gate(context: Context, run: RunName = "latest", as_json: Json = False) -> ExitCode:
    from paritygate.cli.gating import say_gate
    from paritygate.cli.runs import find_run

    settings = settings_of(context)
    found = find_run(settings, run)
    report = found.folder / "report.html"
    return say_gate(settings, found, list(found.judged()), report if report.is_file() else None, as_json=as_json)


VERB = Verb("gate", gate, "Exit code and verdict of a judged run.")
