"""`token`: makes, lists and revokes the tokens of a service, in its database on this machine."""

import re
import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from paritygate.cli.options import Data
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


class Action(StrEnum):
    CREATE = "create"
    LIST = "list"
    REVOKE = "revoke"


What = Annotated[Action, typer.Argument(metavar="|".join(Action), help="Make one, list all, or end one.")]
Name = Annotated[str, typer.Argument(metavar="[NAME]", help="Of create and revoke: whose it is, or what for.")]
Scopes = Annotated[
    str, typer.Option("--scopes", metavar="NAMES", help="Of create: some of read,submit,work,approve,admin.")
]
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="Of create: good for that project only.")]
Expires = Annotated[str, typer.Option("--expires", metavar="90d", help="Of create: when it ends: 90d, 12h, 30m.")]


def token(
    context: Context,
    action: What,
    name: Name = "",
    scopes: Scopes = "",
    project: Project = "",
    expires: Expires = "",
    data: Data = None,
    as_json: Json = False,
) -> ExitCode:
    from getpass import getuser

    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.serving import config_here, opened, require_service, service_installed

    settings = settings_of(context)
    if bool(name) is (action is Action.LIST):
        expected = "no NAME" if name else "a NAME"
        raise UsageError(
            "whose token?" if not name else "list takes no name", where=f"token {action}", expected=expected
        )
    if action is not Action.CREATE and (scopes or project or expires):
        raise UsageError("options of create", where=f"token {action}", got="--scopes, --project or --expires")
    with service_installed():
        from paritygate.service import tokens

        config = config_here(settings, data)
        if action is not Action.CREATE:  # the first one is made before there is a service
            require_service(config)
        with opened(config) as engine:
            match action:
                case Action.CREATE:
                    chosen = tokens.parse_scopes(scopes)
                    text = tokens.create(engine, name, chosen, getuser(), _project(project), _seconds(expires))
                    say_json({"name": name, "token": text}) if as_json else say(text)
                    where = engine.url.render_as_string(hide_password=True)
                    say(f"of the service of {where}; it is shown this once", to=sys.stderr)
                case Action.REVOKE:
                    tokens.revoke(engine, name, getuser())
                    say_json({"name": name, "revoked": True}) if as_json else say(f"{name} opens nothing any more")
                case Action.LIST:
                    found = tokens.known(engine)
                    say_json(found) if as_json else say(*map(_line, found), plural(len(found), "token"))
    return ExitCode.PASS


def _line(each: Any) -> str:
    state = "revoked" if each.revoked else "expired" if each.expires and each.expires < time.time() else _until(each)
    used = f"used {_day(each.used)}" if each.used else "never used"
    return f"{each.name}  {','.join(each.scopes)}  {each.project or 'all projects'}  {state}  {used}"


def _until(each: Any) -> str:
    return f"until {_day(each.expires)}" if each.expires else "no end"


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _seconds(text: str) -> float | None:
    if not text:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise UsageError("no time", where=f"--expires {text}", expected="90d, 12h or 30m")
    return int(found[1]) * _UNITS[found[2]]


def _project(name: str) -> str:
    from paritygate.service.folders import PROJECT_NAME

    if name and not re.fullmatch(PROJECT_NAME, name):
        raise UsageError("no name for a project", where=f"--project {name}")
    return name


VERB = Verb("token", token, "Make, list or revoke the tokens of a service on this machine.")
