"""Keeps the lease of a task while a replay goes on: heartbeats from a thread of their own."""

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from paritygate.client.work import LeaseLost, Unreachable, Work
from paritygate.core.errors import HarnessError
from paritygate.core.project import Leased

_TOLD_EVERY_S = 2.0  # at most, that the task progresses
_RETRY_S = 2.0


class Keeping:
    """The lease of a task from `asked` on, by this machine's clock. `why` it is lost is empty as long as it is not.

    A service that does not answer is asked again until the lease has surely run out: meanwhile nobody else has it.
    """

    def __init__(self, work: Work, task: Leased, asked: float):
        self._work, self._task = work, task
        self._until, self._length_s = asked + task.left_s, task.left_s
        self._progress: Mapping[str, Any] = {}
        self._over = threading.Event()
        self.lost = threading.Event()
        self.why = ""
        self._thread = threading.Thread(target=self._keep, name=f"lease of task {task.task}", daemon=True)

    def __enter__(self) -> "Keeping":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def tell(self, progress: Mapping[str, Any]) -> None:
        """How far the task is, for the next heartbeat."""
        self._progress = progress

    def _keep(self) -> None:
        told, beat, pause_s = self._progress, time.monotonic(), 0.0
        while not self._over.wait(pause_s or min(0.5, self._length_s / 6)):
            now, progress = time.monotonic(), self._progress
            if now > self._until:
                self._lose("the service was not reached before the lease ran out")
                return
            is_due = now - beat >= self._length_s / 3 or (progress != told and now - beat >= _TOLD_EVERY_S)
            if not (is_due or pause_s):
                continue
            try:
                self._until = now + self._work.heartbeat(self._task, progress)
                told, beat, pause_s = progress, now, 0.0
            except Unreachable:
                pause_s = min(_RETRY_S, self._length_s / 6)
            except HarnessError as reason:
                self._lose(reason.what if isinstance(reason, LeaseLost) else str(reason))
                return

    def _lose(self, why: str) -> None:
        self.why = why
        self.lost.set()
