"""How far a long job is and how long it will take, from what it is told: the numbers that `progress.py` draws."""

import heapq
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from paritygate.core.progress import STARTING, Doing, Piece, Progress

ENOUGH = 3  # pieces that ended: of fewer, what starting and the first programs cost is most of what was measured


@dataclass
class _Part:
    """A piece: the job that it is of, how many of its `size` are done, and the seconds it took once all are."""

    job: int
    cell: str
    place: Literal["first", "further"]  # of its preset in its cell: the first compiles what the others run
    size: int
    done: int = 0
    took_s: float | None = None


@dataclass(frozen=True)
class Reading:
    """What a meter shows: `left_s` is None as long as nobody can know; `at` is each worker's, with its seconds."""

    done: int
    total: int
    noun: str
    of: str
    elapsed_s: float
    left_s: float | None
    at: tuple[tuple[Doing, float], ...]
    pieces: int  # that ended


class Meter(Progress):
    """Counts. `clock` gives seconds, `changed` is called with each piece that ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, changed: Callable[[Piece], None] | None = None):
        self._clock, self._changed = clock, changed or (lambda piece: None)
        self._lock = threading.Lock()  # whoever draws reads from another thread
        self._began = clock()
        self._parts: dict[tuple[str, str], _Part] = {}
        self._at: dict[int, tuple[Doing, float]] = {}
        self._piece: dict[int, tuple[float, tuple[str, str]]] = {}  # by worker: since when it is at which one
        self._lost: set[int] = set()
        self._workers, self._noun, self._of, self._kept = 1, "", "", 0

    def planned(
        self, jobs: Sequence[Sequence[Piece]], workers: int = 1, noun: str = "values", done: int = 0, of: str = ""
    ) -> None:
        with self._lock:
            self._parts, seen = {}, set[tuple[str, str]]()
            for job, of_job in enumerate(jobs):
                for cell, case, size in of_job:
                    programs = (cell, case.partition(".")[0])
                    self._parts[cell, case] = _Part(job, cell, "further" if programs in seen else "first", size)
                    seen.add(programs)
            self._at, self._piece, self._lost = {}, {}, set()
            self._workers, self._noun, self._of, self._kept = workers, noun, of, done

    def at(self, worker: int, doing: Doing) -> None:
        with self._lock:
            now = self._clock()
            starting = worker not in self._at or self._at[worker][0].phase == STARTING
            since = now if starting else self._piece[worker][0]  # of a piece, starting is no part
            self._at[worker] = (doing, now)
            self._piece[worker] = (since, (doing.cell, doing.of or doing.case))

    def done(self, worker: int, cell: str, case: str, count: int = 1) -> None:
        with self._lock:
            now, part = self._clock(), self._parts.get((cell, case))
            if part is None:
                return
            part.done = min(part.done + count, part.size)
            ended = part.done == part.size and part.took_s is None
            if ended:
                since, _ = self._piece.get(worker, (now, ("", "")))
                part.took_s = now - since
                self._piece[worker] = (now, ("", ""))
        if ended:
            self._changed(Piece(cell, case, part.size))

    def ended(self, worker: int) -> None:
        """Of its job nothing more will come, if anything was left of it."""
        with self._lock:
            self._at.pop(worker, None)
            _, piece = self._piece.pop(worker, (0.0, ("", "")))
            if piece in self._parts:
                self._lost.add(self._parts[piece].job)

    def read(self) -> Reading:
        with self._lock:
            now, parts = self._clock(), self._parts.values()
            return Reading(
                self._kept + sum(part.done for part in parts),
                self._kept + sum(part.size for part in parts),
                self._noun,
                self._of,
                now - self._began,
                self._left_s(now),
                tuple((doing, now - since) for _, (doing, since) in sorted(self._at.items())),
                sum(part.took_s is not None for part in parts),
            )

    def _left_s(self, now: float) -> float | None:
        """What the pieces that did not end will take, by those that did.

        None before enough ended, as long as less than half of what is left was measured in its own job, and once
        everything takes longer than it should.
        """
        ended = [part for part in self._parts.values() if part.took_s is not None]
        parts = self._parts.items()
        open_ = {name: part for name, part in parts if part.took_s is None and part.job not in self._lost}
        measured = {(part.job, part.place) for part in ended}
        known = sum(part.size for part in open_.values() if (part.job, part.place) in measured)
        if len(ended) < ENOUGH or 2 * known < sum(part.size for part in open_.values()):
            return None
        since = {piece: start for start, piece in self._piece.values()}
        left_of: dict[int, float] = {}
        for name, part in open_.items():
            takes_s = part.size * _rate(_nearest(part, ended))
            spent_s = now - since[name] if name in since else 0.0
            left_of[part.job] = left_of.get(part.job, 0.0) + max(0.0, takes_s - spent_s)
        free_at = [0.0] * self._workers
        for job in sorted(left_of):  # in the order in which they are started, each by the worker that is free first
            heapq.heapreplace(free_at, free_at[0] + left_of[job])
        return max(free_at) or None


def _nearest(part: _Part, ended: Sequence[_Part]) -> Sequence[_Part]:
    """Those in the same place of a cell: of its own, else of its job, else of any; where none is, all."""
    alike = [each for each in ended if each.place == part.place]
    of_cell = [each for each in alike if each.cell == part.cell]
    return of_cell or [each for each in alike if each.job == part.job] or alike or ended


def _rate(parts: Sequence[_Part]) -> float:
    """Seconds for one of what is counted."""
    return sum(part.took_s or 0.0 for part in parts) / sum(part.size for part in parts)


def left_words(left_s: float | None) -> str:
    """No finer than it is known: `40 s left`, `3 min left`, `1 h 20 min left`; empty where it is not."""
    if left_s is None:
        return ""
    if left_s < 55:
        return f"{max(10, 10 * math.ceil(left_s / 10))} s left"
    minutes = max(1, round(left_s / 60))
    if minutes < 60:
        return f"{minutes} min left"
    return f"{minutes // 60} h {minutes % 60 // 10 * 10} min left"


def elapsed_words(elapsed_s: float) -> str:
    """`0:07`, `12:03`, `1:02:03`."""
    hours, seconds = divmod(int(elapsed_s), 3600)
    return f"{hours}:{seconds // 60:02}:{seconds % 60:02}" if hours else f"{seconds // 60}:{seconds % 60:02}"


def count_words(reading: Reading) -> str:
    return f"{reading.done:,} of {reading.total:,} {reading.noun}"


def doing_words(doing: Doing) -> list[str]:
    """The parts of what a worker is at that are not empty, without what would move a cursor or turn a line round."""
    parts = (doing.of, doing.cell, doing.case, doing.mode, doing.site, doing.phase)
    return [plain(part) for part in parts if part]


def plain(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
