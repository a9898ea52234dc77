"""What `gate --server` and `approve --server` do: a run of a service, judged there, told here in each format.

Writes, where GitHub Actions asks for it, the summary and the outputs of its step. All that a service says is text of
strangers: it gives no order to a terminal, a runner or a page.
"""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from paritygate.cli.options import OutputFormat
from paritygate.cli.output import plural, say, say_headed, say_json
from paritygate.cli.runs import find_run, name_of
from paritygate.cli.verb import Settings
from paritygate.core.errors import ExitCode, UsageError
from paritygate.core.run_files import is_run_name

if TYPE_CHECKING:
    from paritygate.client.client import Client

SHOWN = 12


def run_there(settings: Settings, run: str) -> str:
    """The name that a run has there: of one that lies here, its own, `latest` too; else as it is, `latest:main`."""
    try:
        return find_run(settings, run).info.id
    except UsageError:
        if is_run_name(run) or run.startswith("latest:"):
            return run
        raise


def say_gate(
    settings: Settings, service: "Client", project: str, run: str, against: str, form: OutputFormat
) -> ExitCode:
    """Ends with the exit code that the gate has by the project's baseline."""
    if form is OutputFormat.JUNIT:
        raise UsageError("a service says no tests", where="--output-format junit", try_="the same without --server")
    answer = _asked(settings, lambda name: service.gate(project, name, against or "baseline"), project, run)
    code, url = ExitCode(answer["exit_code"]), service.url + answer["page"]
    match form:
        case OutputFormat.JSON:
            say_json({**answer, "url": url})
        case OutputFormat.MARKDOWN:
            say(_markdown(answer, url).rstrip())
        case OutputFormat.GITHUB:
            _say_to_github(settings, answer, url)
        case _:
            say_headed(settings, "\n".join(_text(answer, url)))
    return code


def _asked(settings: Settings, ask: Any, project: str, run: str) -> Any:
    """The answer; of a run that lies here only, the command that sends it."""
    from paritygate.client.transport import ServerRefused

    try:
        return ask(run_there(settings, run))
    except ServerRefused as reason:
        if reason.what not in ("no such run", "no such project") or not _is_here(settings, run):
            raise  # of a branch to be compared with that has no run, too, nothing here is to be sent
        here = name_of(settings, find_run(settings, run))
        raise UsageError(
            "the service does not have this run, or not the project",
            where=f"{project}, {run}",
            got=reason.what,
            try_=f"paritygate upload {here} --project {project}",
        ) from None


def _is_here(settings: Settings, run: str) -> bool:
    try:
        find_run(settings, run)
    except UsageError:
        return False
    return True


def _text(answer: Any, url: str) -> Iterator[str]:
    from paritygate.report.text import CONTROL

    def lines() -> Iterator[str]:
        yield f"{answer['verdict'].upper()}  {answer['run']} of {answer['project']}"
        yield from (f"{name:<9}{answer[name]['words']}" for name in ("budget", "ratchet"))
        yield from (f"problem  {problem}" for problem in answer["problems"])
        yield from (f"{each['row']}  {_why(each)}" for each in answer["failing"][:SHOWN])
        yield from answer["gaps"][:SHOWN]
        if changed := answer["changes"][:SHOWN]:
            yield f"against {answer['against']}: {_statuses(answer)}"
            yield from (each["text"] for each in changed)
        yield f"run      {url}"

    return (CONTROL.sub("?", line) for line in lines())


def _why(failing: Any) -> str:
    said = failing["verdict"].replace("_", " ")
    said += f", {failing['diagnosis']}" if failing["diagnosis"] not in ("", "none") else ""
    return said + (f": {failing['reason']}" if failing["reason"] else "")


def _statuses(answer: Any) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in answer["statuses"].items() if count)


def _markdown(answer: Any, url: str) -> str:
    from paritygate.report.markdown import code, escaped

    def lines() -> Iterator[str]:
        yield f"### {escaped(answer['verdict'].upper())}: {code(answer['run'])} of {code(answer['project'])}"
        yield ""
        yield from (f"- **{name}** {escaped(answer[name]['words'])}" for name in ("budget", "ratchet"))
        yield from (f"- {escaped(problem)}" for problem in answer["problems"][:SHOWN])
        if answer["failing"]:
            yield from ("", "| row | is |", "|---|---|")
            yield from (f"| {code(each['row'])} | {escaped(_why(each))} |" for each in answer["failing"][:SHOWN])
        if answer["gaps"]:
            yield ""
            yield from (f"- {escaped(gap)}" for gap in answer["gaps"][:SHOWN])
        if answer["changes"]:
            yield from ("", f"Against {escaped(answer['against'])}: {escaped(_statuses(answer))}", "")
            yield from (f"- {escaped(each['text'])}" for each in answer["changes"][:SHOWN])
        yield from ("", f"The run: <{url}>")

    return "\n".join(lines()) + "\n"


def _say_to_github(settings: Settings, answer: Any, url: str) -> None:
    from paritygate.report.github import output, without_commands

    token = secrets.token_hex(16)
    say(without_commands("\n".join(_text(answer, url)), token))
    if settings.step_summary is not None:
        with settings.step_summary.open("a", encoding="utf-8") as file:
            file.write(_markdown(answer, url))
    if settings.step_outputs is not None:
        said = {
            "verdict": answer["verdict"],
            "exit-code": str(answer["exit_code"]),
            "run": answer["run"],
            "report": url,
        }
        said |= {name: answer[name]["words"] for name in ("budget", "ratchet")}
        with settings.step_outputs.open("a", encoding="utf-8") as file:
            file.write("".join(output(name, value, token) for name, value in said.items()))


def approve_there(
    settings: Settings, service: "Client", project: str, run: str, asked: dict[str, Any], agreed: Any, as_json: bool
) -> ExitCode:
    """Shows what would be accepted, asks `agreed`, and accepts it in the token's name."""
    from paritygate.cli.verbs.approve import change_text
    from paritygate.core.budget import Proposal
    from paritygate.core.codec import from_json

    shown = _asked(settings, lambda name: service.approve(project, name, **asked), project, run)
    proposals = [from_json(Proposal, each) for each in shown["proposals"]]
    if not as_json:
        say(*map(change_text, proposals), f"{plural(len(proposals), 'row')}; reason: {asked['reason'].strip()}")
    written = agreed(len(proposals))
    if written:
        shown = service.approve(project, shown["run"], **asked, act="write")
    if as_json:
        say_json({**shown, "written": written})
    else:
        say(f"{plural(len(proposals), 'row')} accepted in {project}" if written else "nothing was written")
    return ExitCode.PASS
