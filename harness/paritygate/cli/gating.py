"""The end of `run` and `gate`, in the format that was asked for: verdict, first divergences, cost, the next command.

Writes, where GitHub Actions asks for it, the summary and the outputs of its step.
"""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paritygate.cli.options import OutputFormat
from paritygate.cli.output import say, say_headed, say_json
from paritygate.cli.progress import progress
from paritygate.cli.runs import name_of
from paritygate.cli.stages import gate_run, shown
from paritygate.cli.verb import Settings
from paritygate.core.errors import ExitCode, ReplayInterrupted
from paritygate.core.run import Run

if TYPE_CHECKING:
    from paritygate.report.data import ReportData

DIVERGENCES_SHOWN = 12


def say_gate(
    settings: Settings,
    run: Run,
    data: "ReportData",
    report: Path | None,
    form: OutputFormat = OutputFormat.TEXT,
    not_explained: str = "",
    interrupted: ReplayInterrupted | None = None,
) -> ExitCode:
    """`not_explained` is why a divergence of the run has no counterfactual; `interrupted` what ended the replay."""
    code = ExitCode.INTERRUPTED if interrupted else gate_run(run, data.rows)
    following = _next(settings, run, data, code, report)
    match form:
        case OutputFormat.TEXT:
            say_headed(settings, "\n".join(_text(settings, run, data, report, following, not_explained)))
        case OutputFormat.JSON:
            say_json(_values(run, data, report, code, not_explained))
        case OutputFormat.JUNIT:
            from paritygate.report.junit import render_junit

            say(render_junit(data).rstrip())
        case OutputFormat.MARKDOWN:
            from paritygate.report.markdown import render_markdown

            say(render_markdown(data, following).rstrip())
        case OutputFormat.GITHUB:
            text = "\n".join(_text(settings, run, data, report, following, not_explained))
            _say_to_github(settings, run, data, report, code, text, following)
    return code


def _say_to_github(
    settings: Settings, run: Run, data: "ReportData", report: Path | None, code: ExitCode, text: str, following: str
) -> None:
    """The text, from which no command can come; annotations; the step's summary and outputs."""
    from paritygate.cli.sources import Sources
    from paritygate.report.github import annotations, output, without_commands
    from paritygate.report.markdown import SUMMARY_BYTES, render_markdown

    sources, token = Sources(run, settings.workspace), secrets.token_hex(16)
    say(without_commands(text, token))
    say(*(each.command for each in annotations(data, sources.of_site, sources.of_line)))
    if settings.step_summary is not None:
        used = settings.step_summary.stat().st_size if settings.step_summary.is_file() else 0
        summary = render_markdown(data, following, SUMMARY_BYTES - used)
        if used + len(summary.encode()) <= SUMMARY_BYTES:  # GitHub drops the whole of a summary that is larger
            with settings.step_summary.open("a", encoding="utf-8") as file:
                file.write(summary)
        else:
            say(f"the summary of this step is full: {used:,} bytes were there before")
    if settings.step_outputs is not None:
        said = {"verdict": data.outcome.value, "exit-code": str(int(code)), "run": str(run.folder)}
        said["report"] = str(report) if report else ""
        said |= {"budget": data.gates.budget.words, "ratchet": data.gates.ratchet.words}
        with settings.step_outputs.open("a", encoding="utf-8") as file:
            file.write("".join(output(name, value, token) for name, value in said.items()))


def _values(run: Run, data: "ReportData", report: Path | None, code: ExitCode, not_explained: str) -> dict[str, Any]:
    from paritygate.judge.gate import summary
    from paritygate.judge.locate import first_divergence

    info, comparison = run.info, data.comparison
    return {
        "run": info.id,
        "folder": str(run.folder),
        "report": str(report) if report else None,
        "exit_code": int(code),
        "summary": summary(data.rows),
        "gates": {
            name: {"ok": gate.ok, "words": gate.words, **vars(gate)}
            for name, gate in (("budget", data.gates.budget), ("ratchet", data.gates.ratchet))
        },
        "compared": comparison and {
            "against": comparison.against, "counts": comparison.counts, "changes": comparison.changed
        },
        "problems": info.problems,
        "reproducible": info.reproducible,
        "repeats": info.repeats,
        "not_covered": data.not_covered,
        "coverage": data.coverage,
        "lint": data.lint,
        "program_changes": data.program_changes.changes,
        "first_divergences": first_divergence(data.rows),
        "counterfactuals": data.counterfactuals,
        "blames": data.blames,
        "not_explained": not_explained,
        "wall_s": info.wall_s,
        "peak_memory_bytes": info.peak_memory_bytes,
        "compilations": info.compilations,
    }  # fmt: skip


def _text(
    settings: Settings, run: Run, data: "ReportData", report: Path | None, following: str, not_explained: str
) -> list[str]:
    from paritygate.cli.explaining import said
    from paritygate.judge.locate import first_divergence
    from paritygate.report.text import render_text

    lines, found = (
        [render_text(data, ["verdict"], settings.width, settings.color).rstrip()],
        first_divergence(data.rows),
    )
    if found:
        lines += ["", "First divergence"]
        for divergence in found[:DIVERGENCES_SHOWN]:
            lines += [divergence.text, *([f"    {evidence}"] if (evidence := divergence.row.evidence) else [])]
        if len(found) > DIVERGENCES_SHOWN:
            lines.append(f"and {len(found) - DIVERGENCES_SHOWN} more cells: paritygate locate {run.info.id}")
    if changes := data.program_changes.failing:
        lines += ["", "Compiled programs", *(each.text for each in changes[:DIVERGENCES_SHOWN])]
    if explained := said([*data.counterfactuals, *data.blames]):
        lines += ["", "Explanation", *explained]
    if not_explained:
        lines += ["", f"Explanation not found: {not_explained}"]
    lines.append("")
    if data.comparison is not None and data.comparison.changes:
        lines.append(f"against {data.comparison.against}: {data.comparison.words}")
    lines.append(f"report  {shown(report)}" if report else f"run     {shown(run.folder)}")
    return [*lines, f"next    {following}"]


def judge_interrupted(settings: Settings, stop: ReplayInterrupted, against: str, form: OutputFormat) -> None:
    """Judges and reports what an interrupted replay has, as far as it goes; the rest is missing."""
    from paritygate.cli.stages import judge_run, report_data, report_run

    with progress(settings, "judging"):
        run, _ = judge_run(settings, Run.open(stop.folder))
        data = report_data(settings, run, against)
        report = report_run(run, data)
    say_gate(settings, run, data, report, form, interrupted=stop)


def _next(settings: Settings, run: Run, data: "ReportData", code: ExitCode, report: Path | None) -> str:
    name = name_of(settings, run)
    if code is ExitCode.PASS:
        return f"open {shown(report)}" if report else f"paritygate report {name}"
    if code is ExitCode.INTERRUPTED:
        return f"paritygate run --resume {name}"
    if code is ExitCode.INFRASTRUCTURE:
        return f"paritygate doctor, then paritygate run --resume {name}"
    if code is ExitCode.NOTHING_COMPARED and run.info.skipped:
        return "paritygate doctor"
    if not data.failures and (data.coverage.gaps or data.lint.new):
        return f"paritygate report {name} --text {'coverage' if data.coverage.gaps else 'precision'}"
    if not data.failures and data.program_changes.failing:
        return f"paritygate programs {name}"
    return f"paritygate locate {name}"
