"""Which files of a run folder travel between machines, and how each is written: what is on no list stays where it is.

What else a replay leaves, the logs of its workers and values that it kept, is of use where it ran only.
"""

import re
from collections.abc import Iterator
from pathlib import Path

# Lines are added while a replay runs; only one that is resumed replaces them, at its beginning.
GROWING = ("drifts.jsonl", "inspections.jsonl", "findings.jsonl", "programs.jsonl", "compilations.jsonl")

# Written whole, by a replay, the judge or a report.
REPLACED = (
    "run.json", "rows.jsonl", "coverage.json", "lint.json", "programs.json", "explanations.jsonl", "blames.jsonl",
    "report.html",
)  # fmt: skip
RUN_FILES = (*GROWING, *REPLACED)
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


def is_run_name(text: str) -> bool:
    """Whether a run's folder may be called so: one part of a path, and no option; nor `NAME.json`, which is where a
    service has the page of the run NAME as JSON."""
    return re.fullmatch(RUN_NAME, text) is not None and not text.endswith(".json")


def files_of(folder: Path) -> Iterator[str]:
    """The names of a folder's files that travel; `run.json` last, which says whether the run is whole."""
    for name in sorted(RUN_FILES, key=lambda name: (name == "run.json", name)):
        if (folder / name).is_file() and not (folder / name).is_symlink():
            yield name
