"""What `run` and `gate` print at their end: the verdict, first divergences, cost, report, and the next command."""

from pathlib import Path
from typing import TYPE_CHECKING

from paritygate.cli.output import say, say_headed, say_json
from paritygate.cli.progress import progress
from paritygate.cli.stages import gate_run, shown
from paritygate.cli.verb import Settings
from paritygate.core.drift import Row
from paritygate.core.errors import ExitCode, ReplayInterrupted
from paritygate.core.run import Run

if TYPE_CHECKING:
    from paritygate.report.data import ReportData

DIVERGENCES_SHOWN = 12


def say_gate(
    settings: Settings,
    run: Run,
    rows: list[Row],
    report: Path | None,
    *,
    as_json: bool,
    not_explained: str = "",
    interrupted: ReplayInterrupted | None = None,
) -> ExitCode:
    """`not_explained` is why a divergence of the run has no counterfactual; `interrupted` what ended the replay."""
    from paritygate.cli.explaining import said
    from paritygate.judge.gate import summary
    from paritygate.judge.locate import first_divergence
    from paritygate.report.data import ReportData
    from paritygate.report.text import render_text

    code = ExitCode.INTERRUPTED if interrupted else gate_run(run, rows)
    found = first_divergence(rows)
    changes = run.program_changes()
    data = ReportData(
        run.info, tuple(rows), coverage=run.coverage(), lint=run.lint(), program_changes=changes,
        compilations=tuple(run.compilations()),
    )  # fmt: skip
    if as_json:
        info = run.info
        cost = {"wall_s": info.wall_s, "peak_memory_bytes": info.peak_memory_bytes, "compilations": info.compilations}
        say_json(
            {
                "run": info.id,
                "folder": str(run.folder),
                "report": str(report) if report else None,
                "exit_code": int(code),
                "summary": summary(rows),
                "problems": info.problems,
                "reproducible": info.reproducible,
                "repeats": info.repeats,
                "not_covered": data.not_covered,
                "coverage": data.coverage,
                "lint": data.lint,
                "program_changes": changes.changes,
                "first_divergences": found,
                "counterfactuals": run.counterfactuals(),
                "blames": run.blames(),
                "not_explained": not_explained,
                **cost,
            }
        )
        return code
    say_headed(settings, render_text(data, ["verdict"], settings.width, settings.color))
    if settings.quiet:
        return code
    if found:
        say("", "First divergence")
        for divergence in found[:DIVERGENCES_SHOWN]:
            say(divergence.text, *([f"    {evidence}"] if (evidence := divergence.row.evidence) else []))
        if len(found) > DIVERGENCES_SHOWN:
            say(f"and {len(found) - DIVERGENCES_SHOWN} more cells: paritygate locate {run.info.id}")
    if changes.failing:
        say("", "Compiled programs", *(each.text for each in changes.failing[:DIVERGENCES_SHOWN]))
    if explained := said([*run.counterfactuals(), *run.blames()]):
        say("", "Explanation", *explained)
    if not_explained:
        say("", f"Explanation not found: {not_explained}")
    say("", f"report  {shown(report)}" if report else f"run     {shown(run.folder)}")
    say(f"next    {_next(run, data, code, report)}")
    return code


def judge_interrupted(settings: Settings, stop: ReplayInterrupted, as_json: bool) -> None:
    """Judges and reports what an interrupted replay has, as far as it goes; the rest is missing."""
    from paritygate.cli.stages import judge_run, report_run

    with progress(settings, "judging"):
        run, rows = judge_run(settings, Run.open(stop.folder))
        report = report_run(settings, run, rows)
    say_gate(settings, run, rows, report, as_json=as_json, interrupted=stop)


def _next(run: Run, data: "ReportData", code: ExitCode, report: Path | None) -> str:
    name = run.folder.name
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
