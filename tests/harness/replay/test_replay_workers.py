"""Workers: one per environment, each with nothing but JAX and the candidate, refusing what would compare nothing."""

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace as changed
from itertools import pairwise
from pathlib import Path

import pytest

from paritygate.catalog import select
from paritygate.core.cell import Mode
from paritygate.core.errors import GoldenError, InfrastructureError, NothingComparedError
from paritygate.core.progress import STARTING, Doing
from paritygate.core.run import Run
from paritygate.replay import launch, processes
from paritygate.replay.launch import plan
from paritygate.replay.processes import WORKER
from paritygate.store.golden import GoldenStore

# What a worker may not need: the libraries of torch, of the judge, of the report and of the command line.
FORBIDDEN = ("torch", "transformers", "pandas", "jinja2", "typer", "safetensors", "fsspec", "pytest")


def test_cells_with_one_environment_share_a_worker(toy_store):
    jobs = plan("toy", list(select.suites()["toy"]), select.select_cells("f64,f32,bf16"), list(Mode), toy_store)
    assert [[cell.dtype for cell in job.cells] for job in jobs] == [["f64"], ["f32", "bf16"]]
    assert [job.environment.variables("")["JAX_ENABLE_X64"] for job in jobs] == ["1", "0"]


def test_a_worker_needs_only_jax_and_the_candidate(replay_toy, job_of, tmp_path):
    """The worker's own job, run again where importing anything else fails and paritygate is not installed."""
    job = replay_toy().folder / "workers" / "0.job.json"
    probe = tmp_path / "probe.py"
    probe.write_text(
        f"""
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"a worker imported {{name}}")

sys.meta_path.insert(0, Refuse())
sys.modules["paritygate"] = None  # whatever is installed here is not what the worker may use
sys.argv = ["worker.py", {str(job)!r}]
try:
    runpy.run_path({str(WORKER)!r}, run_name="__main__")
finally:
    print("loaded", sorted(n for n in sys.modules if n in {FORBIDDEN!r}), file=sys.stderr)
"""
    )
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    done = subprocess.run([sys.executable, "-P", str(probe)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "loaded []" in done.stderr
    assert done.stdout.count('{"drift":') == 16
    assert done.stdout.splitlines()[-1].startswith('{"done":')


def test_the_candidates_interpreter_is_used(replay_toy, tmp_path):
    interpreter = tmp_path / "python-of-the-candidate"
    interpreter.write_text(f'#!/bin/sh\necho started with the other interpreter >&2\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    run = replay_toy(interpreter=str(interpreter))
    assert run.info.problems == ()
    assert run.info.workers[0]["interpreter"] == str(interpreter)
    assert "started with the other interpreter" in (run.folder / "workers" / "0.log").read_text()


def test_an_interpreter_that_is_not_there_is_infrastructure(replay_toy):
    with pytest.raises(InfrastructureError, match="worker cannot be started: /no/such/python"):
        replay_toy(interpreter="/no/such/python")


def test_jax_that_starts_otherwise_is_refused(replay_toy, monkeypatch):
    monkeypatch.setattr(
        "paritygate.replay.job.Environment.variables",
        lambda self, cache: {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "0"},
    )
    run = replay_toy()
    (problem,) = run.info.problems
    assert "JAX did not start as asked" in problem
    assert list(run.drifts()) == []


def test_whatever_influenced_the_run_is_recorded(replay_toy, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    (worker,) = replay_toy().info.workers
    assert worker["environment"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert worker["environment"]["JAX_ENABLE_X64"] == "1"
    assert set(worker["versions"]) == {"jax", "jaxlib", "flax", "numpy", "ml_dtypes"}
    assert worker["compilations"] > 0
    assert worker["peak_memory_bytes"] > 10**8


def test_a_warm_compile_cache_answers_everything(replay_toy, tmp_path):
    cache = tmp_path / "cache"
    cold, warm = (replay_toy(compile_cache=cache).info for _ in range(2))
    assert warm.compilations == cold.compilations
    assert warm.workers[0]["cache_hits"] == warm.compilations
    assert cold.workers[0]["cache_hits"] < cold.compilations
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_others_can_write_is_refused(replay_toy, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(InfrastructureError, match="can be written by others"):
        replay_toy(compile_cache=cache)


@pytest.mark.parametrize("damage", ["object", "manifest", "spec", "ports", "peer"])
def test_a_bad_golden_stops_the_run_before_it_starts(toy_store, replay_toy, tmp_path, damage):
    import shutil

    shutil.copytree(toy_store.root, tmp_path / "copy")
    store = GoldenStore(tmp_path / "copy")
    golden = store.read("toy", "toy-2.plain")
    if damage == "object":
        path = store.objects.path(golden.ports[3].tensor.object)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    elif damage == "manifest":
        store.path("toy", "toy-2.plain").write_text("{")
    else:
        changes = {
            "spec": {"spec": "0" * 64},
            "ports": {"ports": golden.ports[:-1]},
            "peer": {"peers": {**golden.peers, "f64": "float16"}},
        }
        store.write("toy", changed(golden, **changes[damage]))
    with pytest.raises(GoldenError) as caught:
        replay_toy(store=store)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "runs").exists()
    if damage == "object":
        assert golden.ports[3].address in str(caught.value)


def test_a_run_that_was_interrupted_says_so(replay_toy, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_start", killed)
    with pytest.raises(KeyboardInterrupt):
        replay_toy()
    (folder,) = (replay_toy.runs).iterdir()
    assert Run.open(folder).info.problems == ("the run was interrupted",)


def test_a_worker_ends_with_the_process_that_started_it(replay_toy, tmp_path):
    """A parent that is killed while its worker hangs leaves no worker behind."""
    job = replay_toy("toy_variants:hangs", timeout_s=5.0).folder / "workers" / "0.job.json"
    parent = textwrap.dedent(
        f"""
        import subprocess, sys, time
        worker = subprocess.Popen([sys.executable, "-P", {str(WORKER)!r}, {str(job)!r}], stdout=subprocess.PIPE)
        print(worker.pid, flush=True)
        time.sleep(600)
        """
    )
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.stdout.close()
    time.sleep(2.0)  # long enough for the worker to be past its first lines, far from long enough for it to end
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{worker}/exe") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}/exe")


def test_what_was_judged_is_recorded(replay_toy):
    (worker,) = replay_toy().info.workers
    source = (Path(__file__).parents[2] / "toy" / "toy_jax.py").read_bytes()
    expected = hashlib.sha256(b"toy_jax.py\0" + source + b"\0").hexdigest()
    assert worker["candidate"] == {"toy_jax": expected}


def test_nothing_to_replay_is_not_a_pass(toy_store, tmp_path):
    with pytest.raises(NothingComparedError, match="nothing to replay") as caught:
        launch.replay("toy", [], [], [], toy_store, tmp_path, ())
    assert caught.value.exit_code == 5


def test_lines_of_an_interrupted_run_are_kept(replay_toy):
    run = replay_toy()
    path = run.folder / "drifts.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5]) + lines[5][:40])
    assert len(list(run.drifts())) == 5


def test_progress_is_told_of_every_value_and_what_the_worker_is_at(replay_toy, told):
    replay_toy(progress=told, cells="f64,f32")
    cells, case = ("f64/single/cpu", "f32/single/cpu"), "toy-2.plain"
    assert told.jobs == [[(cell, case, 16)] for cell in cells]
    assert sorted(told.dones) == [(worker, cell, case) for worker, cell in enumerate(cells) for _ in range(16)]
    assert sorted(told.over) == [0, 1]
    for worker, cell in enumerate(cells):
        doings = [doing for number, doing in told.doings if number == worker]
        assert doings[:2] == [Doing(cell=cell, phase=STARTING), Doing(cell=cell)]
        assert doings[-1] == Doing(cell=cell, phase="ending")
        assert all(one != two for one, two in pairwise(doings)), "nothing is said twice"
        sites = {doing.site for doing in doings if doing.mode == "isolated"}
        assert sites == {"embed", "layers.0", "layers.0.norm", "layers.1", "layers.1.norm", "head"}
        assert {doing.phase for doing in doings if doing.mode == "chained"} >= {"", "compiling", "running"}
        assert {doing.case for doing in doings[2:-1]} == {case}
        assert len(doings) < 150, "a few a site, however many values it has"
