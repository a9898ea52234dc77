"""Standard streams whose reader may leave, as `paritygate show | head` does: what nobody reads is dropped."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class _Unread:
    """A text stream that goes nowhere from the moment its reader is gone. All else is the stream's own."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self.drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Puts the null device in the pipe's place, so that what is buffered goes there, also at the very end."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Inside, a closed pipe ends neither the verb nor changes its exit code, and a stream that is closed is silent."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as null:
        guarded = [_Unread(stream or null) for stream in before]  # None where it was closed from the start
        sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in guarded)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for stream in guarded:
                try:
                    stream.flush()
                except OSError:  # a full disk: said by now, and Python's own flush at the end must not fail again
                    stream.drop()
