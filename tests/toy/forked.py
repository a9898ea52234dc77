"""The command line in processes forked from one that has imported what verbs need, which takes longer than most verbs.

Run as a file it is that process: a request a line on standard input, an exit code a line on standard output.
"""

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

UNTIL_S = 240.0
# What verbs import when they are called. No part of it starts a thread; JAX, which does, is for workers only.
PACKAGES = ("core", "catalog", "catalog.dtypes", "catalog.families", "metrics", "store", "judge", "report")
PACKAGES += ("report.sections", "cli", "cli.verbs")
MODULES = ("paritygate.reference.capture", "paritygate.replay.launch", "paritygate.replay.blaming", "typer._adapters")


class Forked:
    """Calls `python -m paritygate`, one call at a time, and starts what it forks from at the first."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None
        atexit.register(self.end)

    def call(self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str]) -> tuple[int, str, str]:
        """Exit code, standard output, standard error. Raises TimeoutExpired as `subprocess.run` does."""
        server = self._server = self._server or self._start()
        assert server.stdin is not None and server.stdout is not None
        with tempfile.TemporaryDirectory() as said:
            out, err = Path(said, "out"), Path(said, "err")
            request = {"arguments": list(arguments), "folder": str(folder), "environ": dict(environ)}
            answer = ""
            try:
                server.stdin.write(json.dumps(request | {"out": str(out), "err": str(err)}) + "\n")
                server.stdin.flush()
                if not select.select([server.stdout], [], [], UNTIL_S)[0]:
                    raise subprocess.TimeoutExpired(arguments, UNTIL_S)
                answer = server.stdout.readline()
            finally:
                if not answer:  # nobody may take the end of this call for that of the next
                    self.end()
            return int(answer), out.read_text(), err.read_text()

    def end(self) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.communicate()
            self._server = None

    @staticmethod
    def _start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )


FORKED = Forked()


def serve() -> None:
    for package in PACKAGES:
        where = importlib.import_module(f"paritygate.{package}")
        for info in pkgutil.iter_modules(where.__path__, f"{where.__name__}."):
            importlib.import_module(info.name)
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # or a child's first collection goes through all that was imported
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(arguments: list[str], folder: str, environ: dict[str, str], out: str, err: str) -> NoReturn:
    """Is `python -m paritygate` from here on, but for the end: to take all modules down costs more than most verbs."""
    for handle, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, handle)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))  # the other one may have read ahead
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = arguments
    sys.path.insert(0, folder)
    code: object = 1
    try:
        runpy.run_module("paritygate", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve()
