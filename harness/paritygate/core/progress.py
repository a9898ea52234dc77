"""How far a long job is: what it is made of, what each worker is at, what is done. Whoever watches overrides it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

STARTING = "starting"  # the phase of a worker that has said nothing yet


@dataclass(frozen=True)
class Doing:
    """What a worker is at; what it is not about is empty. `of` is the fault that is planted meanwhile."""

    of: str = ""
    cell: str = ""
    case: str = ""
    mode: str = ""
    site: str = ""
    phase: str = ""


class Piece(NamedTuple):
    """What a worker does in one go, a case in a cell, and how many it has of what is counted.

    Where faults are planted, `case` is the fault.
    """

    cell: str
    case: str
    size: int


class Progress:
    """Is told how far something is, and keeps it to itself."""

    def planned(
        self, jobs: Sequence[Sequence[Piece]], workers: int = 1, noun: str = "values", done: int = 0, of: str = ""
    ) -> None:
        """The pieces of each job, `workers` of which run side by side; `done` are there from an earlier time."""

    def at(self, worker: int, doing: Doing) -> None:
        """What a worker is at from now on."""

    def done(self, worker: int, cell: str, case: str, count: int = 1) -> None:
        """So many more of a piece are there."""

    def ended(self, worker: int) -> None:
        """A worker is at nothing any more."""

    def say(self, line: str) -> None:
        """A line that stays, of a job that has something to say on its way."""


SILENT = Progress()
