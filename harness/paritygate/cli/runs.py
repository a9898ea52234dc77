"""Finding runs: by folder name, by path, or `latest`; and naming the rows of one."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

from paritygate.cli.verb import Settings
from paritygate.core.drift import Row
from paritygate.core.errors import UsageError, unknown_name
from paritygate.core.run import Run


def find_run(settings: Settings, name: str) -> Run:
    """Raises UsageError where there is no such run, with near matches."""
    if name == "latest":
        names = run_names(settings.runs)
        if not names:
            raise UsageError("there is no run yet", where=str(settings.runs), try_="paritygate run tiny")
        return Run.open(settings.runs / names[-1])
    for folder in (settings.runs / name, Path(name)):
        if (folder / "run.json").is_file():
            return Run.open(folder)
    if "/" in name:
        return Run.open(Path(name))
    raise unknown_name("run", name, [*run_names(settings.runs)[-5:], "latest"])


def name_of(settings: Settings, run: Run) -> str:
    """What finds the run again: its folder's name, or the path of one that lies elsewhere."""
    if run.folder.resolve().parent == settings.runs.resolve():
        return run.folder.name
    try:
        return str(run.folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(run.folder.resolve())


def run_names(runs: Path) -> list[str]:
    """Folder names of all runs, oldest first."""
    found = []
    for path in runs.glob("*/run.json"):
        try:
            started = json.loads(path.read_text())["started"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a folder that is being written, or no run of ours
        found.append((str(started), path.stat().st_mtime_ns, path.parent.name))
    return [name for _, _, name in sorted(found)]


def row_id(row: Row) -> str:
    """What a glob is matched against: `tiny-scout.long/bf16/single/cpu/chained/layers.3.attn:out`."""
    return f"{row.drift.case}/{row.drift.cell}/{row.drift.mode}/{row.drift.address}"


def key_of(row: Row) -> tuple[str, str, str, str]:
    """The key of the blame that is about a row."""
    return (row.drift.case, row.drift.cell, row.drift.mode, row.drift.address)


def matches(row: Row, glob: str) -> bool:
    return row.drift.address == glob or fnmatchcase(row_id(row), glob)


def no_such_row(glob: str, rows: list[Row]) -> UsageError:
    import difflib

    addresses = list(dict.fromkeys(row.drift.address for row in rows))
    near = difflib.get_close_matches(glob, addresses, n=3, cutoff=0.5)
    return UsageError(
        "no row matches",
        where=glob,
        expected="a value such as layers.3.attn:out, or a glob over case/cell/mode/site:port",
        got=f"{len(rows)} rows, none of that name",
        try_=f"did you mean {' or '.join(near)}?" if near else "paritygate show",
    )
