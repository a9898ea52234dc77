"""`gate`: the exit code of a judged run, here or at a service."""

from paritygate.cli.options import Against, FormatName, chosen_format
from paritygate.cli.remote import PlainHttp, Project, Server, client_to
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.errors import ExitCode


def gate(
    context: Context,
    run: RunName = "latest",
    against: Against = "",
    output_format: FormatName = None,
    server: Server = "",
    project: Project = "",
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.gating import say_gate
    from paritygate.cli.runs import find_run
    from paritygate.cli.stages import report_data

    settings, form = settings_of(context), chosen_format(output_format, as_json)
    if server or project:
        from paritygate.cli import asking

        with client_to(settings, server, project, plain_http) as service:
            return asking.say_gate(settings, service, project, run, against, form)
    found = find_run(settings, run)
    report = found.folder / "report.html"
    return say_gate(settings, found, report_data(settings, found, against), report if report.is_file() else None, form)


VERB = Verb(
    "gate", gate, "Exit code and verdict of a judged run, by the baseline here or, with --project, that of a service."
)
