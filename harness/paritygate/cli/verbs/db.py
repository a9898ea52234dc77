"""`db`: the database of a service on this machine: bring it up to date, make its index again, remove old runs."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paritygate.cli.options import Data
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from paritygate.service.app import Service


class Action(StrEnum):
    MIGRATE = "migrate"
    REBUILD = "rebuild"
    PRUNE = "prune"
    STATUS = "status"


What = Annotated[
    Action,
    typer.Argument(
        metavar="|".join(Action),
        help="Bring the tables up to date, make the index of run folders again, remove old runs, say what is there.",
    ),
]
KeepDays = Annotated[
    float | None,
    typer.Option("--keep-days", metavar="N", min=0.0, help="Of prune: runs that arrived in the last N days stay."),
]
KeepLast = Annotated[
    int, typer.Option("--keep-last", metavar="N", min=1, help="Of prune: the last N runs of each branch stay.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Of prune: only say what would be removed.")]


def db(
    context: Context,
    action: What,
    keep_days: KeepDays = None,
    keep_last: KeepLast = 1,
    dry_run: DryRun = False,
    data: Data = None,
    as_json: Json = False,
) -> ExitCode:
    if action is Action.PRUNE and keep_days is None:
        raise UsageError("prune needs to know what is old", where="db prune", try_="paritygate db prune --keep-days 90")
    if action is not Action.PRUNE and (keep_days is not None or keep_last != 1 or dry_run):
        raise UsageError("only prune removes runs", where=f"db {action} --keep-days, --keep-last or --dry-run")
    from paritygate.cli.serving import service_here, service_installed

    with (
        service_installed(),
        service_here(settings_of(context), data, "may be new" if action is Action.MIGRATE else "is there") as service,
    ):
        if action is Action.STATUS:
            return _status(service, as_json)
        from paritygate.service.database import migrate

        migrate(service.engine)
        if action is Action.MIGRATE:
            return _status(service, as_json)
        if action is Action.REBUILD:
            return _rebuild(service, as_json)
        assert keep_days is not None
        return _prune(service, keep_days, keep_last, dry_run, as_json)


def _status(service: "Service", as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.service.database import revisions
    from paritygate.service.index import counts

    at, needed = revisions(service.engine)
    here, where = at == needed, service.engine.url.render_as_string(hide_password=True)
    found = counts(service) if here else {}
    if as_json:
        say_json({"database": where, "revision": at, "needed": needed, "projects": found})
    else:
        say(f"{where}  revision {at or 'none'}{'' if here else f', this version needs {needed}'}")
        for name, (runs, unreadable) in found.items():
            say(f"{name}: {plural(runs, 'run')}" + (f", {unreadable:,} cannot be read" if unreadable else ""))
        say("next    paritygate serve" if here else "next    paritygate db migrate")
    return ExitCode.PASS


def _rebuild(service: "Service", as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.service.index import rebuild

    total = rebuild(service, (lambda line: None) if as_json else say)
    say_json({"runs": total}) if as_json else say(f"{plural(total, 'run')} in the index", "next    paritygate serve")
    return ExitCode.PASS


def _prune(service: "Service", keep_days: float, keep_last: int, dry_run: bool, as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.service.index import catch_up
    from paritygate.service.prune import prune

    catch_up(service)  # what has no line yet has a branch and an age too
    found: list[Any] = []
    for each in prune(service, "paritygate db prune", keep_days, keep_last, "dry run" if dry_run else "remove"):
        found.append(each)
        if not as_json:
            say(f"{'would remove' if dry_run else 'removed'} {each.project}/{each.run}  {each.bytes / 1e6:,.1f} MB")
    freed = sum(each.bytes for each in found)
    if as_json:
        say_json({"removed": found, "bytes": freed, "written": not dry_run})
    else:
        words = "would be freed" if dry_run else "freed"
        say(f"{plural(len(found), 'run')}, {freed / 1e6:,.1f} MB {words}")
        say("next    the same command without --dry-run" if dry_run else "next    paritygate db status")
    return ExitCode.PASS


VERB = Verb("db", db, "The database of a service here: migrate, make its index again, remove old runs, status.")
