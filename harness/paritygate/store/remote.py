"""A remote: a folder of goldens elsewhere, laid out as `golden/` is, that is read and written through fsspec.

What comes from there is not trusted: no name is used as a path before it fits `golden_path` or `object_path`, and
whoever reads says how much may come.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import fsspec

from paritygate.core.errors import GoldenError, HarnessError, InfrastructureError, UsageError
from paritygate.core.run import write_atomic
from paritygate.core.trust import Trust, refuse_overheard
from paritygate.store.golden import NOT_SUITES

CHUNK_BYTES = 4 * 2**20
UPLOAD_BYTES = 8 * 2**20  # of a part: S3 takes 10,000 of them
PARTS = 10_000
LISTING_BYTES = 16 * 2**20  # of a page of links
CONNECT_S, READ_S = 20, 60  # of HTTP, until nothing came for too long

# The extra that brings each protocol; no other is taken, for fsspec knows some that would run or fetch anything.
PROTOCOLS = {"file": "", "memory": "", "http": "http", "https": "http", "s3": "s3", "gs": "gs"}
READ_ONLY = ("http", "https")
_ACCESS = {
    "http": "PARITYGATE_TOKEN, a token that may read",
    "https": "PARITYGATE_TOKEN, a token that may read",
    "s3": "the keys or the profile that the AWS command line goes by, and leave to list, read and write there",
    "gs": "gcloud auth application-default login, and leave to list, read and write there",
}

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,-]{0,199}")
OBJECT = re.compile(r"[0-9a-f]{64}")
_CHAINED = re.compile(r"[?#]|::")  # to fsspec two colons are a chain of filesystems
_LINK = re.compile(r"""<a\s[^>]*?href\s*=\s*["']([^"'?#]+)""", re.IGNORECASE)


class LostError(InfrastructureError):
    """What may go well another time: a connection that broke, a server that is busy."""


def is_name(name: str) -> bool:
    """Whether a suite or a case of a remote may be called so: such a name leads nowhere, and needs no escape."""
    return name not in NOT_SUITES and NAME.fullmatch(name) is not None


def golden_path(suite: str, case: str) -> str:
    """Where a manifest lies in a remote. Raises GoldenError on names that could lead elsewhere."""
    if not is_name(suite) or not is_name(case):
        raise GoldenError(
            "name that no golden of a remote can have",
            where=f"{suite}/{case}"[:200],
            expected="letters, digits and _ . + = , - in the names of the suite and of the case",
        )
    return f"{suite}/{case}.json"


def object_path(name: str) -> str:
    """Where an object lies in a remote. Raises GoldenError where the name is no sha256."""
    if not OBJECT.fullmatch(name):
        raise GoldenError("name that no object can have", where=name[:200], expected="a sha256 in hexadecimal")
    return f"objects/{name[:2]}/{name}.safetensors"


def open_remote(url: str, token: str = "", trust: Trust = "https") -> "Remote":
    """The remote at a URL or, without `://`, in a folder. `token` is shown to a server, and to nothing else.

    Raises UsageError where the protocol is not known, its extra is not installed, the URL cannot be one of a remote, or
    the token would be overheard.
    """
    protocol, divider, rest = url.partition("://")
    if not divider:
        protocol, rest = "file", url
    if protocol not in PROTOCOLS:
        raise UsageError("remote of an unknown protocol", where=url, expected=", ".join(PROTOCOLS))
    host = rest.partition("/")[0]
    checked = rest[len(host) :] if protocol in READ_ONLY and _is_ipv6(host) else rest
    bad = "@" in host or "[" in checked.partition("/")[0] or _CHAINED.search(checked)
    if not rest.strip("/") or (protocol != "file" and (not host or bad)):
        raise UsageError(
            "not the URL of a remote",
            where=f"{protocol}://…" if "@" in host else url,
            expected="PROTOCOL://BUCKET-OR-HOST/FOLDER without a user, a password or a query, or a folder",
            try_="PARITYGATE_TOKEN for the token of a server",
        )
    if token and protocol in READ_ONLY:
        refuse_overheard(protocol, urlsplit(url).hostname or "", trust)
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    try:
        if protocol in READ_ONLY:
            options |= {"client_kwargs": _session(token)}
        elif protocol == "s3":
            options |= {"max_concurrency": 1}  # parts in memory; several objects go side by side as it is
        elif protocol == "gs":
            logging.getLogger("gcsfs").setLevel(logging.ERROR)  # a line an object where it may not ask for a layout
        fs = fsspec.filesystem(protocol, **options)
    except ImportError as reason:
        raise UsageError(
            f"a remote of {protocol} needs an extra that is not installed",
            where=url,
            got=str(reason),
            try_=f"pip install 'paritygate[{PROTOCOLS[protocol]}]'",
        ) from reason
    at = str(Path(rest).absolute()) if protocol == "file" else fs._strip_protocol(url)
    return Remote(url.rstrip("/"), protocol, fs, at.rstrip("/"))


def _is_ipv6(host: str) -> bool:
    """Whether it is a bare address in brackets, with or without a port."""
    found = re.fullmatch(r"\[([^%\]]+)\](:[0-9]{1,5})?", host)
    try:
        return found is not None and IPv6Address(found[1]) is not None
    except ValueError:
        return False


def _session(token: str) -> dict[str, Any]:
    """What a session of HTTP is made with. Numbers of bytes are meant as they are: nothing comes compressed."""
    import aiohttp

    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
    # It raises by itself, and lets go of the connection: fsspec, where it does, leaves it open.
    return {"headers": {"Accept-Encoding": "identity"} | bearer, "timeout": timeout, "raise_for_status": True}


class Remote:
    """Paths are from its root on, with names that were checked. All that is raised is a HarnessError."""

    def __init__(self, url: str, protocol: str, fs: Any, root: str):
        self.url, self.protocol, self._fs, self._root = url, protocol, fs, root

    def __str__(self) -> str:
        return self.url

    def suites(self) -> list[str]:
        """The folders that may hold manifests."""
        listed = self._listed("")
        return sorted(n for n, (kind, _) in listed.items() if kind == "directory" and is_name(n))

    def cases(self, suite: str) -> list[str]:
        listed = [name for name, (kind, _) in self._listed(suite).items() if kind == "file" and name.endswith(".json")]
        return sorted(case for name in listed if is_name(case := name.removesuffix(".json")))

    def sizes(self, folder: str) -> dict[str, int]:
        """The bytes of each file of a folder; empty where there is none. Not of a server: its pages say no sizes."""
        return {name: size for name, (_, size) in self._listed(folder).items() if size is not None}

    def _listed(self, folder: str) -> dict[str, tuple[Literal["file", "directory"], int | None]]:
        if self.protocol in READ_ONLY:
            return self._linked(folder)
        with self._told(folder, "read"):
            try:
                listed = self._fs.ls(self._at(folder), detail=True)
            except FileNotFoundError:
                return {}
            return {e["name"].rstrip("/").rpartition("/")[2]: (e["type"], e.get("size")) for e in listed}

    def _linked(self, folder: str) -> dict[str, tuple[Literal["file", "directory"], int | None]]:
        """What the page of a folder links to, as any server of files shows one."""
        page = self.read(f"{folder}/" if folder else "", LISTING_BYTES).decode(errors="replace")
        found: dict[str, tuple[Literal["file", "directory"], int | None]] = {}
        for link in map(unquote, _LINK.findall(page)):
            found[link.rstrip("/").rpartition("/")[2]] = ("directory" if link.endswith("/") else "file", None)
        return found

    def read(self, path: str, most_bytes: int) -> bytes:
        """A small file whole. Raises GoldenError where it is not there, or larger than it may be."""
        content = bytearray()
        for chunk in self.stream(path):
            content += chunk
            if len(content) > most_bytes:
                raise GoldenError("remote sends too much", where=self._named(path), expected=f"{most_bytes:,} bytes")
        return bytes(content)

    def stream(self, path: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file from `start` on, in chunks; no more is read than is taken."""
        with self._told(path, "read"):
            if self.protocol in READ_ONLY:
                yield from self._streamed(path, start)
                return
            with self._fs.open(self._at(path), "rb", block_size=CHUNK_BYTES, cache_type="none") as file:
                file.seek(start)
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk

    def _streamed(self, path: str, start: int) -> Iterator[bytes]:
        """One request, which goes on for as long as is taken. `size` is given to save another that asks for it."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._fs.open(self._at(path), "rb", block_size=0, size=1, headers=headers) as file:
            skipped = start if start and file.r.status != 206 else 0  # the server does not know ranges
            while chunk := file.read(CHUNK_BYTES):
                yield chunk[skipped:]
                skipped = max(0, skipped - len(chunk))

    def require_writable(self) -> None:
        """Raises UsageError where nothing can be put."""
        if self.protocol in READ_ONLY:
            raise UsageError("this remote is only read", where=self.url, expected="file, s3 or gs to push to")

    def put(self, content: Path | bytes, path: str) -> None:
        """Writes a file, which is there whole or not at all."""
        with self._told(path, "written"):
            if self.protocol == "file":
                write_atomic(Path(self._at(path)), content if isinstance(content, bytes) else chunks_of(content))
            elif isinstance(content, bytes):
                self._fs.pipe_file(self._at(path), content)
            else:
                part = max(UPLOAD_BYTES, -(-content.stat().st_size // PARTS))
                self._fs.put_file(str(content), self._at(path), chunksize=-(-part // 2**18) * 2**18)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path or self.protocol in READ_ONLY else self._root

    def _named(self, path: str) -> str:
        return f"{self.url}/{path}" if path else self.url

    @contextmanager
    def _told(self, path: str, done: Literal["read", "written"]) -> Iterator[None]:
        """Turns what a filesystem raises into what it means and what helps. The text of some would show a token."""
        try:
            yield
        except HarnessError:
            raise
        except Exception as reason:
            missing = isinstance(reason, FileNotFoundError) or _status(reason) == 404
            if missing and done == "read":
                raise GoldenError(
                    "remote has no such file",
                    where=self._named(path),
                    try_="push its goldens again, from a store that is whole",
                ) from None
            if missing:
                raise InfrastructureError(
                    "remote has no such bucket or folder", where=self.url, got=_said(reason), try_="create it first"
                ) from None
            if _refused(reason):
                raise InfrastructureError(
                    "remote refuses access",
                    where=self._named(path),
                    got=_said(reason),
                    try_=_ACCESS.get(self.protocol, "leave to read and write there"),
                ) from None
            kind = LostError if _passes(reason) else InfrastructureError
            raise kind(
                f"remote cannot be {done}",
                where=self._named(path),
                got=f"{type(reason).__name__}: {_said(reason)}",
                try_="the same command again: it goes on where this one ended",
            ) from None


def _status(reason: Exception) -> int:
    status = str(getattr(reason, "status", "") or getattr(reason, "code", ""))
    return int(status) if status.isdigit() else 0


def _refused(reason: Exception) -> bool:
    told = isinstance(reason, PermissionError) or _status(reason) in (401, 403)
    return told or "Credentials" in type(reason).__name__ or str(reason).startswith("Forbidden")


def _passes(reason: Exception) -> bool:
    """Whether it may go well another time. What has no status and no errno of a file is of a connection."""
    if status := _status(reason):
        return status >= 500 or status in (408, 429)
    if isinstance(reason, OSError):
        return not isinstance(reason, FileExistsError | IsADirectoryError | NotADirectoryError)
    return type(reason).__module__.partition(".")[0] in ("aiohttp", "botocore")


def _said(reason: Exception) -> str:
    """One line, and no more of it than is read."""
    return " ".join((getattr(reason, "strerror", None) or str(reason) or "no reason").split())[:300]


def chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
