"""A folder of runs and goldens, and the command line called in this process."""

import importlib.util
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.cli.main import main

from toy.terminal import OWN_TERMINAL

# LLVM's optimisations and the costliest of its front ends are left out. What is looked at of a program, which is what
# it exchanges, multiplies and holds, is settled before.
QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    path = Path(__file__).parents[1] / "report" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic_run", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PARITYGATE_GOLDEN": str(tmp_path / "golden"),
        "PARITYGATE_RUNS": str(tmp_path / "runs"),
        "HOME": str(tmp_path),
    }


@pytest.fixture
def compiled_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment does not say otherwise: most of these tests' time goes into compiling."""
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", QUICKLY))


@pytest.fixture
def paritygate(environ: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: str, **more: str) -> Said:
        code = main(arguments, environ | more)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def on_terminal(environ: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """The command line on a terminal of its own: exit code and text. Where it asks, the answer is typed or sent."""

    def call(answer: str | signal.Signals, *arguments: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        # Not by `preexec_fn`: that forks, of which JAX warns in a process that has imported it.
        command = [sys.executable, "-c", OWN_TERMINAL, sys.executable, "-m", "paritygate", *arguments]
        child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environ, start_new_session=True
        )
        os.close(theirs)
        said, answered = b"", False
        try:
            while select.select([ours], [], [], 120)[0]:
                try:
                    chunk = os.read(ours, 4096)
                except OSError:  # Linux: the other side is closed
                    break
                if not chunk:
                    break
                said += chunk
                if not answered and b"[y/N]" in said:
                    answered = True
                    if isinstance(answer, signal.Signals):
                        child.send_signal(answer)
                    else:
                        os.write(ours, answer.encode())
            return child.wait(60), said.decode()
        finally:
            child.kill()
            child.wait()
            os.close(ours)

    return call
