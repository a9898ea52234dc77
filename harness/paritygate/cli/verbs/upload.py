"""`upload`: a run to a project of a service, gone on with where the connection broke."""

import sys
from typing import Annotated

import typer

from paritygate.cli.remote import PlainHttp, Project, Server, branch_here, client_to
from paritygate.cli.verb import Context, Json, RunName, Settings, Verb, settings_of
from paritygate.core.errors import ExitCode, HarnessError

Branch = Annotated[
    str, typer.Option("--branch", help="Which branch it is of; that of the CI job, or as git names it, if left out.")
]
Commit = Annotated[str, typer.Option("--commit", help="Which commit of the candidate; as --branch if left out.")]
PullRequest = Annotated[
    str, typer.Option("--pull-request", metavar="NUMBER", help="Which one it is of; that of the CI job if left out.")
]


def upload(
    context: Context,
    run: RunName = "latest",
    project: Project = "",
    branch: Branch = "",
    commit: Commit = "",
    pull_request: PullRequest = "",
    server: Server = "",
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import say, say_json
    from paritygate.cli.runs import find_run, name_of

    settings = settings_of(context)
    found = find_run(settings, run)
    branch = branch or branch_here(settings)
    with client_to(settings, server, project, plain_http) as service:
        url = service.url
        there = service.upload(
            project,
            found.folder,
            branch,
            commit or settings.commit or _revision(settings),
            pull_request or settings.pull_request,
            (lambda line: None) if as_json else say,
        )
    if not branch:
        say("of no branch, so that no branch's history has it: --branch NAME", to=sys.stderr)
    if as_json:
        say_json(there)
    else:
        say(f"run     {there['name']}, number {there['number']} of {project}: {there['verdict']}")
        say(f"next    paritygate gate {name_of(settings, found)} --server {url} --project {project}")
    return ExitCode.PASS


def _revision(settings: Settings) -> str:
    """As a worker names it, `-dirty` behind a commit that is not all; empty where there is none."""
    from paritygate.client.candidates import revision_of

    try:
        return revision_of(settings.workspace)
    except HarnessError:
        return ""


VERB = Verb("upload", upload, "Send a run to a project of a service.")
