"""One file of an upload, as its bytes come: counted, unpacked up to its promised size, added to what is on disk."""

import errno
import fcntl
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paritygate.service.problems import Conflict, Full, NotFound, Refused, TooLarge

SLACK_BYTES = 1 << 16  # that packing may add to what is packed
_FULL = (errno.ENOSPC, errno.EDQUOT)


def full_disk(expected: str = "") -> Full:
    return Full("the disk of the service is full", expected=expected, try_="again later: what is here is kept")


@dataclass
class Part:
    """A part that is being added to, by nobody else. What was added is right up to any byte, whatever comes later."""

    name: str
    size: int
    have: int
    handle: int
    unpacker: Any = None  # zlib's
    came: int = field(default=0, init=False)

    @classmethod
    def open(cls, path: Path, name: str, size: int, offset: int, packed: str) -> "Part":
        """Raises Conflict where it is being sent already, or is not as far as `offset`."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            raise NotFound("no such upload", where=path.parent.name) from None
        except OSError as reason:
            raise _refused(reason) from None
        try:
            have = _held(handle, name)
            if have != offset:
                expected, got = f"Upload-Offset: {have}", str(offset)
                raise Conflict("file is not as far as that", where=name, expected=expected, got=got)
        except BaseException:
            os.close(handle)
            raise
        return cls(name, size, have, handle, zlib.decompressobj(wbits=31) if packed == "gzip" else None)

    def write(self, piece: bytes) -> None:
        """Raises TooLarge at the first byte that is more than was promised; of packed bytes no more are unpacked."""
        self.came += len(piece)
        if self.came > self.size + SLACK_BYTES:
            raise self._too_large()
        if self.unpacker is None:
            self._add(piece)
            return
        for unpacked in self._unpacked(piece):
            self._add(unpacked)

    def _unpacked(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self.unpacker.eof:
                raise Refused("bytes behind the end of what is packed", where=self.name)
            try:
                yield self.unpacker.decompress(piece, self.size - self.have + 1)
            except zlib.error as reason:
                raise Refused("not packed by gzip, or damaged", where=self.name, got=str(reason)) from None
            piece = self.unpacker.unconsumed_tail or self.unpacker.unused_data

    def _add(self, data: bytes) -> None:
        if self.have + len(data) > self.size:
            raise self._too_large()
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self.handle, rest)
            except OSError as reason:
                raise _refused(reason) from None
            self.have += written
            rest = rest[written:]

    def _too_large(self) -> TooLarge:
        return TooLarge("more than was promised", where=self.name, expected=f"{self.size:,} bytes")

    def close(self) -> None:
        os.close(self.handle)

    @staticmethod
    def settle(path: Path, name: str, size: int, sha256: str) -> None:
        """Puts a whole part on disk. Raises Conflict where it is not whole, Refused where it is not what was promised,
        which is then gone, so that it is sent again."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Conflict("file is not whole", where=name, expected=f"{size:,} bytes", got="none") from None
        with os.fdopen(handle, "rb") as file:
            have = _held(handle, name)
            if have != size:
                raise Conflict("file is not whole", where=name, expected=f"{size:,} bytes", got=f"{have:,}")
            if (found := hashlib.file_digest(file, "sha256").hexdigest()) != sha256:
                path.unlink()
                raise Refused(
                    "file is not what was promised", where=name, expected=sha256, got=found, try_="send it again"
                )
            os.fsync(handle)


def _held(handle: int, name: str) -> int:
    """How long a part is that nobody else holds, nor will as long as the handle is open."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict("file is being sent", where=name, try_="again, from how far it is then") from None
    return os.fstat(handle).st_size


def _refused(reason: OSError) -> Exception:
    if reason.errno == errno.ELOOP:  # a link, which nobody of us made
        return Conflict("part is no file", try_="whoever runs the service looks into its folder of uploads")
    return full_disk() if reason.errno in _FULL else reason
