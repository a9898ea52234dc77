"""`approve`: accept drifts of a run as baseline, with a reason, here or at a service. The only writer of a baseline."""

import sys
from typing import Annotated

import typer

from paritygate.cli.remote import PlainHttp, Project, Server, client_to
from paritygate.cli.runs import name_of
from paritygate.cli.verb import Context, Json, RunName, Verb, settings_of
from paritygate.core.budget import Accepted, Proposal
from paritygate.core.errors import ExitCode, UsageError
from paritygate.core.site import address

Select = Annotated[str, typer.Option("--select", metavar="GLOB", help="Rows, as case/cell/mode/site:port.")]
Semantic = Annotated[bool, typer.Option("--semantic", help="Accept rows, too, that compute something else.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why this drift is right.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody is there to be asked.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who accepts it; git's user if left out.")]


def approve(
    context: Context,
    select: Select,
    reason: Reason,
    run: RunName = "latest",
    semantic: Semantic = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    by: By = "",
    server: Server = "",
    project: Project = "",
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> ExitCode:
    from datetime import UTC, datetime

    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run
    from paritygate.cli.stages import shown
    from paritygate.store.baseline import approve as accept
    from paritygate.store.baseline import propose, refuse_planted, refuse_semantic

    settings = settings_of(context)
    if server or project:
        from paritygate.cli import asking

        if by:
            raise UsageError("a service knows who accepts", where=f"--by {by}", expected="the name of the token")
        asked = {"select": select, "reason": reason, "semantic": "accepted" if semantic else "refused"}

        def goes_on(rows: int) -> bool:
            return not dry_run and (yes or agreed(asks=settings.asks and not as_json, rows=rows))

        with client_to(settings, server, project, plain_http) as service:
            return asking.approve_there(settings, service, project, run, asked, goes_on, as_json)
    found = find_run(settings, run)
    refuse_planted(found.info)
    folder, now = settings.golden / "baselines", datetime.now(UTC)
    rows = list(found.judged())
    if not semantic:
        refuse_semantic(rows, select)
    proposals = propose(rows, select, reason, found.info.id, folder, now.date().isoformat())
    tell = (lambda *lines: None) if as_json else say
    tell(*(change_text(each) for each in proposals))
    replaced = sum(each.before is not None for each in proposals)
    words = f"{plural(len(proposals), 'row')}: {len(proposals) - replaced:,} new, {replaced:,} accepted before"
    tell(f"{words}; reason: {reason.strip()}")
    who, written = "" if dry_run else by.strip() or git_user(), False
    if not dry_run and (yes or agreed(asks=settings.asks and not as_json, rows=len(proposals))):
        accept(proposals, folder, who, select, now.isoformat(timespec="seconds").replace("+00:00", "Z"))
        written = True
    if as_json:
        say_json({"run": found.info.id, "proposals": proposals, "written": written})
    elif written:
        say(f"{plural(len(proposals), 'row')} accepted in {shown(folder)} by {who}")
        say(f"next    paritygate judge {name_of(settings, found)}")
    else:
        say(
            "nothing was written",
            "next    the same command without --dry-run" if dry_run else "next    paritygate gate",
        )
    return ExitCode.PASS


def change_text(proposal: Proposal) -> str:
    """`CASE/CELL/MODE/SITE:PORT  before nothing was accepted, after rel_l2 0.003 (1.35 of its budget); over budget`"""
    after = proposal.after
    place = "/".join((after.case, after.cell, after.mode, address(after.site, after.port, after.call)))
    verdict = after.verdict.replace("_", " ")
    return f"{place}\n    before  {_accepted_text(proposal.before)}\n    after   {_numbers(after)}; {verdict}"


def _accepted_text(line: Accepted | None) -> str:
    return f"{_numbers(line)}; of {line.run}, {line.date}: {line.reason}" if line else "nothing was accepted"


def _numbers(line: Accepted) -> str:
    """What was judged and, of a line that does not say what was, everything measured."""
    names = line.shares or line.metrics
    return ", ".join(
        f"{name} {line.metrics.get(name, 0.0):.3g}"
        + (f" ({line.shares[name]:.3g} of its budget)" if name in line.shares else "")
        for name in sorted(names)
    )


def agreed(*, asks: bool, rows: int) -> bool:
    """Asks on a terminal. In a pipe nobody has seen the change, and a job must not hang: --yes says it is meant."""
    if not asks:
        raise UsageError(
            "nobody is there to be asked",
            where="paritygate approve",
            expected="an answer on a terminal, or --yes",
            try_="--dry-run to see what would change, then --yes",
        )
    print(f"Accept {rows:,} row{'s' * (rows != 1)}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def git_user() -> str:
    """`NAME <EMAIL>`, as git would sign a commit here; raises UsageError where it would not."""
    import subprocess

    def config(key: str) -> str:
        try:
            done = subprocess.run(["git", "config", key], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if not (name := config("user.name")):
        raise UsageError("nobody is named who accepts it", expected="git's user.name, or --by", try_='--by "Ada"')
    return f"{name} <{email}>" if (email := config("user.email")) else name


VERB = Verb(
    "approve",
    approve,
    "Accept drifts of a run as baseline, with a reason.",
    writes=lambda given: "" if given["dry_run"] else "baselines",
)
