"""`manifest`: the server that the environment names, and a next command that a shell takes as it is."""

from collections.abc import Callable
from pathlib import Path


def test_workers_are_for_the_server_that_is_named(paritygate: Callable, tmp_path: Path) -> None:
    asked = ("manifest", "slurm", "tiny", "--cells", "bf16 x single x gpu", "--out", str(tmp_path / "a b"))
    said = paritygate(*asked)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("no server for the workers: --server ''\n  expected  https://HOST, or PARITYGATE_SERVER")
    assert list(tmp_path.iterdir()) == []
    said = paritygate(*asked, PARITYGATE_SERVER="https://parity.example")
    file = tmp_path / "a b" / "worker-gpu.sbatch"
    assert said.out.splitlines() == [f"written  {file}", f"next     sbatch '{file}'"]
    assert "--server https://parity.example " in file.read_text()
    paritygate(*asked, "--server", "https://other.example", PARITYGATE_SERVER="https://parity.example")
    assert "--server https://other.example " in file.read_text()
