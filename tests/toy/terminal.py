"""A command on a terminal of its own: a pseudo-terminal, whose Ctrl-C reaches every process on it."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CTRL_C = b"\x03"
UNTIL_S = 240.0
# Takes the terminal over before it becomes the command, as a shell does for its child: of tests that run in the
# background Ctrl-C is ignored.
OWN_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """What was written so far, bytes as they came, and the keys that can be pressed."""

    def __init__(self, child: "subprocess.Popen[bytes]", handle: int):
        self.child, self._handle, self.written = child, handle, b""

    def press(self, keys: bytes) -> None:
        os.write(self._handle, keys)

    def read_until(self, words: str) -> None:
        """Raises AssertionError where they do not come."""
        deadline = time.monotonic() + UNTIL_S
        while words.encode() not in self.written:
            assert time.monotonic() < deadline and self._read(), f"{words!r} never came: {self.written.decode()}"

    def end(self) -> int:
        """Reads to the end, and returns the exit code."""
        while self._read():
            pass
        return self.child.wait(UNTIL_S)

    @property
    def text(self) -> str:
        """Without the sequences that move the cursor and colour."""
        return _SEQUENCE.sub("", self.written.decode()).replace("\r\n", "\n")

    @property
    def screen(self) -> str:
        """What is seen at the end, and above it, of one that never scrolls away."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.written.decode()):
            if part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif part == "\r":
                column = 0
            elif part.startswith("\x1b"):
                row -= int(part[2:-1] or 1) if part.endswith("A") else 0
                lines[row] = "" if part == "\x1b[2K" else lines[row]
            else:
                lines[row] = f"{lines[row]:<{column}}"[:column] + part + lines[row][column + len(part) :]
                column += len(part)
        return "\n".join(lines)

    def _read(self) -> bool:
        if not select.select([self._handle], [], [], UNTIL_S)[0]:
            return False
        try:
            chunk = os.read(self._handle, 1 << 16)
        except OSError:  # nobody is on it any more
            return False
        self.written += chunk
        return bool(chunk)


@contextmanager
def on_terminal(
    command: Sequence[str], environ: Mapping[str, str], folder: Path, columns: int = 100
) -> Iterator[Terminal]:
    handle, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    own = [sys.executable, "-c", OWN_TERMINAL, *command]
    size = {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
    child = subprocess.Popen(
        own, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={**environ, **size}, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(child, handle)
    finally:
        child.kill()
        child.wait()
        os.close(handle)
