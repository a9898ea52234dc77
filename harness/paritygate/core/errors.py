"""One family of errors: each says what is wrong, where, what was expected and got, and what to try."""

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of every verb."""

    PASS = 0
    DRIFT = 1
    USAGE = 2
    GOLDEN = 3
    INFRASTRUCTURE = 4
    NOTHING_COMPARED = 5
    INTERRUPTED = 130
    TERMINATED = 143


class HarnessError(Exception):
    """Something paritygate refuses to go on with.

    `what` is one sentence; `where` names the id, file or port; `expected` and `got` are both sides; `try_` is a
    command or an action that helps. Subclasses only choose the exit code.
    """

    exit_code = ExitCode.INFRASTRUCTURE

    def __init__(self, what: str, *, where: str = "", expected: str = "", got: str = "", try_: str = ""):
        self.what, self.where, self.expected, self.got, self.try_ = what, where, expected, got, try_
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.what}: {self.where}" if self.where else self.what]
        if self.expected:
            lines.append(f"  expected  {self.expected}")
        if self.got:
            lines.append(f"  got       {self.got}")
        if self.try_:
            lines.append(f"  try       {self.try_}")
        return "\n".join(lines)


class UsageError(HarnessError):
    """A wrong name, flag, expression or file of the user's."""

    exit_code = ExitCode.USAGE


class UnclearRoutingError(UsageError):
    """A case whose every prompt is nearly tied somewhere on these weights, so that no golden of it could be trusted."""


class GoldenError(HarnessError):
    """A golden that is missing, stale or corrupt. Never reported as a drift."""

    exit_code = ExitCode.GOLDEN


class InfrastructureError(HarnessError):
    """A device, worker, memory or time problem: it says nothing about the candidate."""

    exit_code = ExitCode.INFRASTRUCTURE


class NothingComparedError(HarnessError):
    """A run that compared nothing, which is a failure and not a pass."""

    exit_code = ExitCode.NOTHING_COMPARED


class Terminated(KeyboardInterrupt):
    """SIGTERM: everything ends as at Ctrl-C, in less time, for whoever sends it does not wait for long."""


class ReplayInterrupted(KeyboardInterrupt):
    """Ctrl-C in a replay, or whatever `by` is. `folder` is the run's, which keeps what was measured."""

    def __init__(self, folder: Path, by: KeyboardInterrupt):
        self.folder, self.by = folder, by
        super().__init__(folder.name)


def unknown_name(noun: str, name: str, known: list[str]) -> UsageError:
    """The error for a name that does not exist, with near matches."""
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return UsageError(
        f"unknown {noun}",
        where=name,
        expected=f"one of {', '.join(sorted(known))}" if known else "none, for there are none",
        try_=f"did you mean {' or '.join(near)}?" if near else "",
    )
