"""A candidate's process ends with its worker, whatever ends that."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paritygate.client.running import Running

STARTS_ONE = """
import sys, time
from pathlib import Path
from paritygate.client.running import Running
with Running([sys.executable, "-c", "import time; time.sleep(600)"], Path(), {}, Path(sys.argv[1])) as running:
    print(running._process.pid, flush=True)
    time.sleep(600)
"""


def is_over(pid: int) -> bool:
    """Gone, or dead with nobody left to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="only there a child hears of it")
def test_it_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", STARTS_ONE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    assert not is_over(pid)
    worker.kill()
    worker.communicate()
    deadline = time.monotonic() + 60
    while not is_over(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_over(pid)


def test_leaving_ends_it_and_all_that_it_started(tmp_path: Path) -> None:
    starts_another = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.exit(7)"
    with Running([sys.executable, "-c", starts_another], tmp_path, dict(os.environ), tmp_path) as running:
        while (code := running.ended_within(1.0)) is None:
            continue
        assert (code, running.complained) == (7, "")
        pid = int(running.said)
        assert not is_over(pid)
    deadline = time.monotonic() + 60
    while not is_over(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_over(pid)
