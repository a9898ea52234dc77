"""`project`: makes a project of a service, or lists those that there are."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from paritygate.cli.remote import PlainHttp, Server, client_installed, transport_to
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError


class Action(StrEnum):
    CREATE = "create"
    LIST = "list"


What = Annotated[Action, typer.Argument(metavar="|".join(Action), help="Make one, with the scope admin, or list all.")]
Name = Annotated[str, typer.Argument(metavar="[NAME]", help="Of create: how it is called.")]


def project(
    context: Context,
    action: What,
    name: Name = "",
    server: Server = "",
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json

    settings = settings_of(context)
    if bool(name) is (action is Action.LIST):
        what, expected = ("list takes no name", "no NAME") if name else ("which project?", "a NAME")
        raise UsageError(what, where=f"project {action}", expected=expected)
    with client_installed():
        from paritygate.client.client import Client

        with Client(transport_to(settings, server, plain_http)) as service:
            if action is Action.LIST:
                found = service.projects()
                say_json(found) if as_json else say(*map(_line, found), plural(len(found), "project"))
            else:
                made = service.create_project(name)
                say_json(made) if as_json else say(f"made    {name}", f"next    paritygate upload --project {name}")
    return ExitCode.PASS


def _line(each: dict[str, Any]) -> str:
    last = f"last {each['latest']}: {each['latest_verdict']}" if each["latest"] else "empty"
    return f"{each['name']}  {each['runs']:,} runs  {last}"


VERB = Verb("project", project, "Make a project of a service, or list them.")
