"""The parts of a session's run: one replay a cell, whichever process asks first; and several of them made into one run.

A part is a run in `<run>/parts/<cell>/<process>/`; judged beside others it is in `parts/<cell>/judged-<process>` too.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from paritygate.core.cell import Cell
from paritygate.core.run import Run, RunInfo
from paritygate.replay.results import UNFINISHED


def folder_of(parts: Path, cell: Cell) -> Path:
    return parts / str(cell).replace("/", "-")


def shared(parts: Path, cell: Cell, process: str, replay: Callable[[Path], Run]) -> Run:
    """The replay of a cell; where no process of the session has made it yet, `replay(folder)` does.

    Others that ask meanwhile wait. One that ended with a problem stays as it is: nothing is tried until it is green.
    """
    folder = folder_of(parts, cell)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(parts / f"{folder.name if cell.platform == 'cpu' else cell.platform}.lock"):
        done = [run for run in replays(folder) if UNFINISHED not in run.info.problems]
        return done[0] if done else replay(folder / process)


def replays(folder: Path) -> list[Run]:
    """What was replayed of a cell: one, and more only where a process was killed at it."""
    return [Run.open(path.parent) for path in sorted(folder.glob("*/*/run.json"))]


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """While no other process of the session holds it; a kill lets go."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def process_of(part: Run) -> str:
    """The process of pytest that replayed a part."""
    return part.folder.parent.name


def merge(folder: Path, parts: Sequence[Run], **others: object) -> Run:
    """Writes the parts, which have no cell in common, as one run, not yet judged; `others` are fields of its info."""
    infos = [part.info for part in parts]
    wall_s: dict[str, float] = {}
    peak_bytes: dict[str, int] = {}
    for part in parts:
        process = process_of(part)
        wall_s[process] = wall_s.get(process, 0.0) + part.info.wall_s
        peak_bytes[process] = max(peak_bytes.get(process, 0), part.info.peak_memory_bytes)
    info = RunInfo(
        id=folder.name,
        suite=infos[0].suite,
        cases=tuple(dict.fromkeys(case for info in infos for case in info.cases)),
        cells=tuple(cell for info in infos for cell in info.cells),
        modes=infos[0].modes,
        started=min(info.started for info in infos),
        command=infos[0].command,
        goldens={case: digest for info in infos for case, digest in info.goldens.items()},
        versions=infos[0].versions,
        workers=tuple(worker for info in infos for worker in info.workers),
        wall_s=round(max(wall_s.values()), 3),
        compilations=sum(info.compilations for info in infos),
        peak_memory_bytes=sum(peak_bytes.values()),
        repeats=tuple(repeat for info in infos for repeat in info.repeats),
        problems=tuple(problem for info in infos for problem in info.problems),
        asked={name: digest for info in infos for name, digest in info.asked.items()},
        floors={cell: words for info in infos for cell, words in info.floors.items()},
        skipped=tuple(skip for info in infos for skip in info.skipped),
    )
    folder.mkdir(parents=True, exist_ok=True)
    measured = {path.name for part in parts for path in part.folder.glob("*.jsonl")} - {"rows.jsonl"}
    for name in measured:
        with (folder / name).open("wb") as whole:
            for path in (part.folder / name for part in parts):
                whole.write(_whole_lines(path.read_bytes()) if path.exists() else b"")
    return Run(folder, info).save(replace(info, **others))


def _whole_lines(content: bytes) -> bytes:
    """Without a last one that a kill cut off, which must not run into the next part's first."""
    return content[: content.rfind(b"\n") + 1]


def move_workers(parts: Sequence[Run], folder: Path) -> None:
    """Jobs and logs of the parts' workers, by cell and process."""
    (folder / "workers").mkdir(exist_ok=True)
    for part in parts:
        name = f"{part.folder.parents[1].name}.{process_of(part)}"
        for path in sorted((part.folder / "workers").iterdir()):
            shutil.move(path, folder / "workers" / f"{name}.{path.name}")
