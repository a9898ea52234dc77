"""What a long verb shows on its way: a bar on a terminal, a plain line now and then in CI, nothing in a pipe.

All of it goes to standard error. Rich is imported to draw, and for nothing else.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from paritygate.cli.meter import Meter, Reading, count_words, doing_words, elapsed_words, left_words, plain
from paritygate.cli.output import say
from paritygate.cli.verb import Settings
from paritygate.core.progress import Piece, Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

LINE_EVERY_S = 15.0  # at most, with something to tell
ALIVE_EVERY_S = 120.0  # where nothing ended: several CIs stop a job that is silent for ten minutes
BAR_CELLS = 40
BAR_LEAST = 8
STAYS_S = 2.0  # of a phase that is over sooner its seconds are not shown


@contextmanager
def progress(settings: Settings, title: str = "") -> Iterator[Progress]:
    """What a long job tells how far it is; shown as the settings say, and gone at the end."""
    if settings.shows == "bar":
        with _bar(settings, title) as shown:
            yield shown
    elif settings.shows == "lines":
        with _lines(sys.stderr, title) as shown:
            yield shown
    else:
        yield _Said(settings.quiet)


class _Said(Progress):
    """Says what stays, unless the verdict alone is asked for."""

    def __init__(self, quiet: bool):
        self._quiet = quiet

    def say(self, line: str) -> None:
        if not self._quiet:
            say(line)


@contextmanager
def _lines(stream: TextIO, title: str) -> Iterator[Progress]:
    shown = Lines(stream, title)
    over = threading.Event()

    def beating() -> None:
        while not over.wait(1.0):
            shown.beat()

    beat = threading.Thread(target=beating, daemon=True)
    beat.start()
    try:
        yield shown
    finally:
        over.set()
        beat.join()


class Lines(Meter):
    """A line for the first piece that ended, then for the latest one as often as is worth it, and where none ends.

    `clock` gives seconds, `now` the time of day.
    """

    def __init__(
        self,
        stream: TextIO,
        title: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ):
        super().__init__(clock, self._ended)
        self._stream, self._title, self._now = stream, title, now
        self._last: float | None = None
        self._due: list[str] = []

    def say(self, line: str) -> None:
        say(line)

    def beat(self) -> None:
        """Says what is due, or where nothing was said for long, what the first worker is at."""
        reading = self.read()
        silent_s = reading.elapsed_s - (self._last or 0.0)
        if self._due and (self._last is None or silent_s >= LINE_EVERY_S):
            self._print(self._due, reading)
        elif silent_s >= ALIVE_EVERY_S:
            self._print(doing_words(reading.at[0][0]) if reading.at else [], reading)

    def _ended(self, piece: Piece) -> None:
        self._due = [plain(part) for part in (piece.cell, piece.case) if part]
        self.beat()

    def _print(self, what: list[str], reading: Reading) -> None:
        self._last, self._due = reading.elapsed_s, []
        counted = count_words(reading) if reading.total else elapsed_words(reading.elapsed_s)
        parts = (self._now(), self._title, reading.of, *what, counted, left_words(reading.left_s))
        self._stream.write("  ".join(part for part in parts if part) + "\n")
        self._stream.flush()


@contextmanager
def _bar(settings: Settings, title: str) -> Iterator[Progress]:
    """Drawn four times a second beside what the job does, and wiped at the end."""
    from rich.console import Console
    from rich.live import Live

    console = Console(
        file=sys.stderr,
        force_terminal=True,
        color_system="standard" if settings.color else None,
        no_color=not settings.color,
        markup=False,
        highlight=False,
        emoji=False,
    )
    shown = Bar(console, title)
    shown.live = Live(
        console=console, get_renderable=shown.drawn, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    with shown.live:
        yield shown


class Bar(Meter):
    """The bar, and below it a line a worker; drawn by `live`."""

    live: "Live"

    def __init__(self, console: "Console", title: str = "", clock: Callable[[], float] = time.monotonic):
        super().__init__(clock)
        self._console, self._title = console, title

    def say(self, line: str) -> None:
        """Above the bar, which makes room: standard output may be the same terminal."""
        self.live.stop()
        say(line)
        self.live.start(refresh=True)

    def drawn(self) -> "RenderableType":
        from rich.console import Group

        reading = self.read()
        return Group(self._head(reading, self._console.width), *_workers(reading, self._console.height - 2))

    def _head(self, reading: Reading, width: int) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        started = reading.total > 0
        counted = count_words(reading) if started else "" if self._title else "starting"
        said = (self._title, reading.of, counted, elapsed_words(reading.elapsed_s), left_words(reading.left_s))
        text = "  ".join(plain(part) for part in said if part)
        room = min(BAR_CELLS, width - len(text) - 2)
        line = Table.grid(padding=(0, 2))
        if room < BAR_LEAST or not started:
            line.add_row(_text(text))
        else:
            line.add_row(ProgressBar(reading.total, reading.done, width=room), _text(text))
        return line


def _workers(reading: Reading, most: int) -> "list[RenderableType]":
    """A line for each worker, as many as there is room for."""
    lines: list[RenderableType] = []
    shown = reading.at if len(reading.at) <= most else reading.at[: max(0, most - 1)]
    for doing, since_s in shown:
        seconds = f" {since_s:.0f} s" if doing.phase and since_s >= STAYS_S else ""
        lines.append(_text("  ".join(doing_words(doing)) + seconds, "dim"))
    if more := len(reading.at) - len(shown):
        lines.append(_text(f"and {more} more workers", "dim"))
    return lines


def _text(text: str, style: str = "") -> "RenderableType":
    from rich.text import Text

    return Text(text, style, no_wrap=True, overflow="ellipsis")
