"""A run folder that is being written, and what of it the service has."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from paritygate.client.work import PIECE_BYTES, Differs, Sent
from paritygate.core.run_files import GROWING, files_of

_UNFINISHED = "the run did not finish"  # as a replay says it of one that it is at

# name, way, offset, size, bytes
Put = Callable[[str, str, int, int, bytes], None]


@dataclass
class _Growing:
    """How much of a file was sent; another file of that name begins anew."""

    inode: int
    sent: int


class Following:
    """Sends what is new of a run folder.

    A case in a cell is whole by its drifts, so they go last of what is measured: whoever takes over must have what
    goes with them. And `run.json` says that the run did not finish until all the rest is there.
    """

    def __init__(self, folder: Path, put: Put):
        self.folder, self._put = folder, put
        self._growing: dict[str, _Growing] = {}
        self._replaced: dict[str, bytes] = {}
        self._lines = 0
        self._last: dict[str, Any] = {}

    def send_so_far(self) -> None:
        """What was measured, while the replay goes on. Raises Differs once, where it has to be sent anew."""
        measured = _size(self.folder / "drifts.jsonl")
        if about := self._unfinished():
            self._replace("run.json", BytesIO(about))
            for name in GROWING:
                if name != "drifts.jsonl":
                    self._send_grown(name, _size(self.folder / name))
            self._send_grown("drifts.jsonl", measured)

    def send_all(self) -> dict[str, Sent]:
        """Everything, of a run that has ended; and what the service has then."""
        self.send_so_far()
        for name in files_of(self.folder):
            if name not in GROWING:
                with (self.folder / name).open("rb") as file:
                    self._replace(name, file)
        return {name: _hashed(self.folder / name) for name in files_of(self.folder)}

    def forget(self) -> None:
        """The service does not have what was sent, so all of it is sent again."""
        self._growing, self._replaced, self._lines = {}, {}, 0

    def progress(self) -> dict[str, Any]:
        """How far the replay is, by its files: how many values of how many, and the last of them."""
        of = self._about().get("values", 0)
        phase = "judging" if of and self._lines >= of else "replaying"
        return {"phase": phase, "values": self._lines, "of": of, **self._last}

    def _about(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _unfinished(self) -> bytes:
        about = self._about()
        said = about and {**about, "problems": [_UNFINISHED]}
        return (json.dumps(said, sort_keys=True, indent=1) + "\n").encode() if said else b""

    def _send_grown(self, name: str, size: int) -> None:
        """What is new of a file up to a size; all of it where it is another file than before: that of a resumed run."""
        path = self.folder / name
        if not path.is_file():
            return
        with path.open("rb") as file:
            inode, known = os.fstat(file.fileno()).st_ino, self._growing.get(name)
            adds = known is not None and known.inode == inode and known.sent <= size
            if known is None or not adds:
                known = _Growing(inode, 0)
                self._lines = 0 if name == "drifts.jsonl" else self._lines
            elif known.sent == size:
                return
            for offset, piece in _pieces(file, known.sent, size):
                self._sent(name, "add" if adds else "replace", offset, size, piece)
                known.sent = offset + len(piece)
                if name == "drifts.jsonl":
                    self._count(piece)
            self._growing[name] = known

    def _count(self, drifts: bytes) -> None:
        """Values that are there; the last one says what the replay is at."""
        self._lines += drifts.count(b"\n")
        with suppress(ValueError, IndexError, KeyError):  # the last line came in two pieces
            last = json.loads(drifts.splitlines()[-1])
            self._last = {"cell": last["cell"], "case": last["case"]}

    def _replace(self, name: str, file: BufferedReader | BytesIO) -> None:
        """Sends a file if it is another than before; in pieces, for a report is large."""
        digest = hashlib.file_digest(file, "sha256").digest()
        if self._replaced.get(name) != digest:
            size = file.seek(0, os.SEEK_END)
            for offset, piece in _pieces(file, 0, size):
                self._sent(name, "replace", offset, size, piece)
            self._replaced[name] = digest

    def _sent(self, name: str, way: str, offset: int, size: int, piece: bytes) -> None:
        try:
            self._put(name, way, offset, size, piece)
        except Differs:
            self.forget()
            raise


def _pieces(file: BufferedReader | BytesIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The bytes between, in pieces; of an empty file one that is empty, so that there is such a file."""
    file.seek(start)
    while True:
        piece = file.read(min(PIECE_BYTES, end - start))
        yield start, piece
        start += len(piece)
        if start >= end or not piece:
            return


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _hashed(path: Path) -> Sent:
    with path.open("rb") as file:
        return Sent(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())
