"""`job`: ask a service for a replay on whatever host can do it, see how far it is, take it back."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from paritygate.cli.options import ModeName
from paritygate.cli.remote import PlainHttp, Project, Server, branch_here, client_installed, transport_to
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError


class Action(StrEnum):
    SUBMIT = "submit"
    LIST = "list"
    SHOW = "show"
    CANCEL = "cancel"


What = Annotated[Action, typer.Argument(metavar="|".join(Action), help="Ask for one, list, show, take back.")]
Which = Annotated[str, typer.Argument(metavar="[SUITE|ID]", help="Of submit: the suite. Of show and cancel: the job.")]
Cells = Annotated[str, typer.Option("--cells", metavar="EXPR", help="dtypes x meshes x platforms, as of run.")]
Cases = Annotated[
    list[str] | None,
    typer.Option("--case", metavar="CASE", help="A case of the suite; again for more. All if left out."),
]
Revision = Annotated[
    str,
    typer.Option("--revision", metavar="REV", help="The candidate's commit, as a worker has it; as git names it here."),
]
Branch = Annotated[
    str, typer.Option("--branch", help="Which branch its runs are counted to; of HEAD that of git, if left out.")
]
Labels = Annotated[str, typer.Option("--labels", metavar="NAMES", help="That a worker must have, beside the platform.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Say what happens until the job has ended.")]


def job(
    context: Context,
    action: What,
    which: Which = "",
    project: Project = "",
    server: Server = "",
    cells: Cells = "",
    case: Cases = None,
    mode: ModeName = "all",
    revision: Revision = "HEAD",
    branch: Branch = "",
    labels: Labels = "",
    follow: Follow = False,
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json

    settings = settings_of(context)
    if not project:
        raise UsageError("which project?", where=f"job {action}", expected="--project NAME")
    with client_installed():
        from paritygate.client.jobs import Jobs
    jobs = Jobs(transport_to(settings, server, plain_http), project)
    if action is Action.LIST:
        found = jobs.latest()
        say_json(found) if as_json else say(*map(_line, found), f"{plural(len(found), 'job')} of {project}")
        return ExitCode.PASS
    if action is Action.SUBMIT:
        if not which or not cells:
            raise UsageError(
                "what is to be replayed?", where="job submit", expected='SUITE --cells "bf16 x single x gpu"'
            )
        asked = [label for label in labels.replace(",", " ").split()]
        branch = branch or (branch_here(settings) if revision == "HEAD" else "")
        made = jobs.request(which, cells, _commit(revision), case or [], mode, branch, asked)
    elif not (which.isascii() and which.isdecimal()):
        raise UsageError(
            "which job?", where=f"job {action} {which}".rstrip(), expected="its number", try_="paritygate job list"
        )
    else:
        made = jobs.cancel(int(which)) if action is Action.CANCEL else jobs.show(int(which))
    if follow:
        for each in jobs.events(made["number"]):
            say_json(each) if as_json else say(_happened(each))
        made = jobs.show(made["number"])
    if as_json:
        say_json(made)
    else:
        say(_line(made), *(_task(task) for task in made["tasks"]))
        if action is Action.SUBMIT and not follow:
            say(f"next    paritygate job show {made['number']} --project {project} --follow")
    return _code(made) if action is Action.SHOW or follow else ExitCode.PASS


def _commit(revision: str) -> str:
    """The whole name of a commit, of what git calls it here; one that is whole, or dirty, as it is."""
    import subprocess

    if re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision):
        return revision
    command = ["git", "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        got = done.stderr.strip()[:200]
        raise UsageError(
            "no such commit here", where=f"--revision {revision}", expected="40 digits, or a name of git", got=got
        )
    return done.stdout.strip()


def _code(made: Mapping[str, Any]) -> ExitCode:
    """The worst of its runs'; that it has none of a task, or not yet, is no pass."""
    if made["state"] != "done":
        return ExitCode.INFRASTRUCTURE if made["state"] in ("failed", "cancelled") else ExitCode.PASS
    return ExitCode(max(task["exit_code"] for task in made["tasks"]))


def _line(made: Mapping[str, Any]) -> str:
    where = f"{made['suite']} in {len(made['cells'])} cells, {made['revision'][:12]}"
    return f"job {made['number']}  {made['state']:<9}  {where}  by {made['requested_by']}"


def _task(task: Mapping[str, Any]) -> str:
    said = [f"  task {task['number']}  {task['state']:<9}", ",".join(task["labels"])]
    if task["state"] == "leased":
        said += [f"by {task['worker']}", _far(task["progress"])]
    if task["state"] == "done":
        said += [f"exit code {task['exit_code']}", task["run"]]
    return "  ".join(each for each in (*said, task["reason"].partition("\n")[0]) if each)


def _far(progress: Mapping[str, Any]) -> str:
    counted = f"{progress.get('values', 0):,} of {progress['of']:,} values" if progress.get("of") else ""
    said = (progress.get("phase", ""), progress.get("cell", ""), progress.get("case", ""), counted)
    return "  ".join(each for each in said if each)


def _happened(each: Mapping[str, Any]) -> str:
    import time

    told = {name: text for name, text in each.items() if name in ("worker", "run", "by", "exit_code") and text != ""}
    said = [f"task {each['task']}" if "task" in each else "", each["kind"].removeprefix("task ")]
    said += [f"{name.replace('_', ' ')} {text}" for name, text in told.items()]
    said += [_far(each), str(each.get("reason", "")).partition("\n")[0]]
    return "  ".join([time.strftime("%H:%M:%S", time.localtime(each["at"])), *(text for text in said if text)])


VERB = Verb("job", job, "Ask a service for a replay on a host that can do it; see how far it is; take it back.")
