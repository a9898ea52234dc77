"""A command of a candidate's, as a process that ends with whoever started it, whatever ends that."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from paritygate.core.errors import InfrastructureError

_GRACE_S = 30.0  # to end its own workers, and to keep what they measured
_PR_SET_PDEATHSIG = 1
_SAID_BYTES = 64 * 1024


class Running:
    """The process, in a session of its own, so that Ctrl-C reaches its worker and no one else. Leaving ends it: by
    SIGTERM, at which a run keeps what it measured, then by SIGKILL. What it said is in files of `logs`."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], logs: Path):
        self._paths = (logs / "said.log", logs / "complained.log")
        try:
            with self._paths[0].open("wb") as said, self._paths[1].open("wb") as complained:
                self._process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=complained,
                    start_new_session=True,
                    preexec_fn=_dies_with_its_parent(),
                )
        except OSError as reason:
            raise InfrastructureError("run cannot be started", where=command[0], got=str(reason)) from None

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what is left of its session, its workers included
        self._process.wait()

    def ended_within(self, seconds: float) -> int | None:
        """Its exit code, as soon as it has one; None where it still runs."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    @property
    def said(self) -> str:
        return _tail(self._paths[0])

    @property
    def complained(self) -> str:
        return _tail(self._paths[1])


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _SAID_BYTES))
        return file.read().decode(errors="replace")


def _dies_with_its_parent() -> Callable[[], None] | None:
    """On Linux a child is sent SIGTERM when its parent is gone, even by kill -9: else it went on at a task that is
    somebody else's by then, on the same device."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork: afterwards as little as possible is done

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return ask
