"""Several transfers side by side, each tried again where a connection is lost, all ended together."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TypeVar

from paritygate.store.remote import LostError

THREADS = 8
WAITS_S = (0.5, 1.0, 2.0, 4.0)  # before each further try of what a connection lost
LEAVE_S = 2.0  # that threads have to end what they are at; a part goes on another time

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """Another thread failed, or somebody pressed Ctrl-C."""


def patiently(do: Callable[[], R], stop: threading.Event) -> R:
    """Tries again what a connection lost, a bounded number of times."""
    for wait_s in WAITS_S:
        with contextlib.suppress(LostError):
            return do()
        if stop.wait(wait_s):
            raise StoppedError
    return do()


def side_by_side(do: Callable[[T, threading.Event], R], items: Iterable[T]) -> list[R]:
    """What each item gives, in their order, from a few threads; the first failure stops all and is raised.

    Daemons: one that waits for a server must not keep Ctrl-C waiting, and what it leaves is a part.
    """
    todo, done, stop = SimpleQueue[tuple[int, T]](), SimpleQueue[tuple[int, R] | BaseException](), threading.Event()
    count = 0
    for count, item in enumerate(items, 1):
        todo.put((count, item))

    def work() -> None:
        while not stop.is_set():
            try:
                number, item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((number, do(item, stop)))
            except BaseException as reason:
                done.put(reason)  # before the others end for it
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, count))]
    found: dict[int, R] = {}
    try:
        for thread in threads:
            thread.start()
        for _ in range(count):
            ended = done.get()
            if isinstance(ended, BaseException):
                raise ended
            found[ended[0]] = ended[1]
    finally:
        stop.set()
        until = time.monotonic() + LEAVE_S
        for thread in (each for each in threads if each.is_alive()):  # Ctrl-C may come before all have begun
            thread.join(max(0.0, until - time.monotonic()))
    return [found[number] for number in sorted(found)]
