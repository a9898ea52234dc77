"""Goldens that cost nothing, fsspec's memory as a remote that breaks, and a server of files that misbehaves."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from fsspec.implementations.memory import MemoryFileSystem

from paritygate.core.cell import Mode
from paritygate.core.family import Case
from paritygate.core.golden import Golden, GoldenPort
from paritygate.core.site import Kind
from paritygate.store.golden import GoldenStore
from paritygate.store.remote import Remote, open_remote


def fill(store: GoldenStore, value: float = 1.0, *prompts: str, values: int = 24) -> GoldenStore:
    """A golden for each prompt, `plain` if none is named: one port of its own, weights and tokens shared."""
    for number, prompt in enumerate(prompts or ("plain",)):
        port = store.put(np.full(values, value + number))
        golden = Golden(
            Case("toy", "toy-2", prompt),
            {"width": 4},
            {"tokens": store.put(np.arange(6).reshape(2, 3))},
            {"head.weight": store.put(np.ones((4, 4)))},
            (GoldenPort("head", "out", 0, Kind.FLOAT, "V", 0, port, tuple(Mode)),),
            {},
            {"seed": 0},
            "spec",
        )
        store.write("toy", golden)
    return store


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by path, but for the lock."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Memory(MemoryFileSystem):
    """fsspec's memory, a fresh one, that writes down what is done, and can break."""

    cachable = False

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.store, self.pseudo_dirs = {}, [""]  # of its own, for fsspec has one for all of a process
        self.done: list[tuple[str, str]] = []
        self.opened = self.bent = lambda path, file: file  # what is given in place of an opened file
        self.told: list[BaseException] = []  # raised by the next calls, one each

    def _note(self, what: str, path: str) -> None:
        self.done.append((what, path))
        if self.told:
            raise self.told.pop(0)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._note("read" if mode == "rb" else "write", path)
        file = super()._open(path, mode, **options)
        return self.opened(path, file) if mode == "rb" else file

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        return super().pipe_file(path, value, **options)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self._note("list", path)
        return super().ls(path, detail, **options)


class Bent:
    """A file that gives other bytes than it has: `give` is called with a chunk and where it begins."""

    def __init__(self, file: Any, give: Callable[[bytes, int], bytes]):
        self._file, self._give, self._at = file, give, 0

    def __enter__(self) -> "Bent":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seek(self, at: int) -> None:
        self._file.seek(at)
        self._at = at

    def read(self, length: int) -> bytes:
        at = self._at
        chunk = self._file.read(length)
        self._at += len(chunk)
        return self._give(chunk, at)


@dataclass
class Server:
    """Files by path. `ways` are how it misbehaves; `asked` is every path with its Range and its bearer."""

    files: dict[str, bytes] = field(default_factory=dict)
    ways: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""
    moved_to: str = ""

    def open(self, token: str = "") -> Remote:
        return open_remote(f"{self.url}/goldens", token)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:  # type: ignore[override]
            pass

        def do_GET(self) -> None:
            wanted, bearer = self.headers.get("Range", ""), self.headers.get("Authorization", "")
            server.asked.append((self.path, wanted, bearer))
            path = self.path.removeprefix("/goldens/")
            if "busy" in server.ways:
                server.ways.discard("busy")
                return self._answer(503)
            if "closed" in server.ways:
                return self._answer(401)
            if server.moved_to:
                return self._answer(302, Location=f"{server.moved_to}{self.path}")
            content = server.files.get(path)
            if content is None:
                return self._answer(404)
            if path in ("", "toy/"):
                return self._answer(200, content, **{"Content-Type": "text/html"})
            if "endless" in server.ways and path.startswith("objects"):
                self._answer(200)
                try:
                    while True:
                        self.wfile.write(b"x" * 65536)
                except OSError:
                    return None
            start = int(re.findall(r"\d+", wanted)[0]) if wanted and "no ranges" not in server.ways else 0
            if "cut" in server.ways and path.startswith("objects"):
                server.ways.discard("cut")
                return self._answer(200, content[:100], **{"Content-Length": str(len(content))})
            return self._answer(206 if start else 200, content[start:])

        def _answer(self, status: int, content: bytes | None = None, **headers: str) -> None:
            self.send_response(status)
            if content is not None:
                headers = {"Content-Length": str(len(content))} | headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content or b"")

    return Handler
