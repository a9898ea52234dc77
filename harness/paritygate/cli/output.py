"""Printing: lines, JSON, and a progress bar where somebody watches."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from paritygate.cli.verb import Settings
from paritygate.core.codec import to_json

Progress = Callable[[int, int, str], None]


def say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


def say_json(value: Any) -> None:
    print(json.dumps(to_json(value), indent=1, ensure_ascii=False))


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


@contextmanager
def progress(settings: Settings) -> Iterator[Progress]:
    """A function (done, total, what) that draws a bar on a terminal and does nothing in a pipe."""
    if not settings.on_terminal:
        yield lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True, markup=False), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
