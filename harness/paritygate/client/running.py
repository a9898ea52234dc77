"""A command of a candidate's, as a process that ends with whoever started it, whatever ends that."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from paritygate.core.errors import InfrastructureError

_GRACE_S = 30.0  # to end its own workers, and to keep what they measured
_SAID_BYTES = 64 * 1024
# Becomes the command. On Linux it has asked before to be sent SIGTERM when its parent is gone, even by kill -9: else it
# went on at a task that is somebody else's by then, on the same device. Not by `preexec_fn`, which forks: whoever has
# threads, JAX's for one, must not.
_WITH_ITS_PARENT = """
import os, sys
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit("its worker is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Running:
    """The process, in a session of its own, so that Ctrl-C reaches its worker and no one else. Leaving ends it: by
    SIGTERM, at which a run keeps what it measured, then by SIGKILL. What it said is in files of `logs`."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], logs: Path):
        self._paths = (logs / "said.log", logs / "complained.log")
        program = shutil.which(command[0], path=environment.get("PATH"))
        if program is None:
            raise InfrastructureError("run cannot be started", where=command[0], got="no such program")
        becomes = [sys.executable, "-I", "-c", _WITH_ITS_PARENT, str(os.getpid()), program, *command[1:]]
        try:
            with self._paths[0].open("wb") as said, self._paths[1].open("wb") as complained:
                self._process = subprocess.Popen(
                    becomes,
                    cwd=folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=complained,
                    start_new_session=True,
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
