"""Accelerators: what the probe says of this machine and of stand-ins, and what becomes of cells that need one."""

import json
import stat
import sys
import textwrap
from pathlib import Path

import jax
import pytest

from jax_llama4 import Numerics
from paritygate.catalog import select
from paritygate.core.cell import Cell
from paritygate.core.errors import ExitCode
from paritygate.core.run import Run, Skip, why_skipped
from paritygate.judge.gate import exit_code
from paritygate.replay import launch, processes
from paritygate.replay.job import Environment
from paritygate.replay.llama4 import numerics_of
from paritygate.replay.platforms import Presence, probe

NO_GPU = "no gpu: jax has no CUDA plugin installed; pip install 'jax[cuda12]'"
ONE = Presence("gpu", 1, "NVIDIA Test")


@pytest.fixture
def interpreter(tmp_path):
    """interpreter(source) → something that is started like a Python, and runs the source in place of the probe."""

    def write(source: str) -> str:
        path = tmp_path / "python"
        program = textwrap.dedent(source)
        path.write_text(f"#!{sys.executable}\n{program}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return write


# the probe


def test_the_cpu_is_here():
    found = probe("cpu")
    assert (found.devices, found.kind, found.text) == (1, "cpu", "1 device, cpu")


@pytest.mark.parametrize(
    ("platform", "text"),
    [("gpu", NO_GPU), ("tpu", "no tpu: libtpu is not installed; pip install 'jax[tpu]'")],
)
def test_what_is_not_installed_is_said_in_one_line(interpreter, platform, text):
    """With an interpreter that has no packages at all, JAX neither: what is missing is found before JAX is imported."""
    bare = interpreter("import os, sys; os.execv(sys.executable, [sys.executable, '-S', *sys.argv[1:]])")
    found = probe(platform, bare)
    assert (found.devices, found.text) == (0, text)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import time; time.sleep(60)", "jax did not start it within 1 s"),
        ("import sys; sys.exit('first line\\nno driver')", "no driver"),
        ("raise SystemExit(9)", "the child ended with code 9"),
    ],
)
def test_a_start_that_fails_or_hangs_is_the_reason(interpreter, source, reason):
    assert probe("gpu", interpreter(source), timeout_s=1).text == f"no gpu: {reason}"


def test_an_interpreter_that_is_not_there_is_the_reason():
    assert "No such file" in probe("gpu", "/no/such/python").reason


def test_a_plugin_that_finds_no_device_is_said(tmp_path, monkeypatch):
    """JAX passes over a CUDA plugin without a driver, and starts the CPU."""
    plugin = tmp_path / "jax_plugins" / "xla_cuda12"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe("gpu").text == "no gpu: jax finds none, only cpu"


@pytest.mark.parametrize(
    ("here", "devices", "reason"),
    [
        (ONE, 1, ""),
        (ONE, 8, "gpu: 1 device, tp8 needs 8"),
        (Presence("tpu", 4, "TPU v5e"), 8, "tpu: 4 devices, tp8 needs 8"),
        (Presence("tpu", 8, "TPU v5e"), 8, ""),
        (Presence("gpu", reason="no driver"), 1, "no gpu: no driver"),
    ],
)
def test_a_mesh_needs_its_devices(here, devices, reason):
    assert here.lacks("tp8", devices) == reason


def test_devices_are_counted_in_words():
    assert Presence("tpu", 4, "TPU v5e").text == "4 devices, TPU v5e"


# what the launcher makes of it


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the probe; what was asked of it is in the list."""
    calls: list[str] = []

    def found(platform: str, interpreter: str) -> Presence:
        calls.append(platform)
        return ONE if platform == "gpu" else Presence(platform, reason="libtpu is not installed")

    monkeypatch.setattr(processes, "probe", found)
    return calls


def test_the_probe_is_not_asked_for_the_cpu(asked, replay_toy):
    run = replay_toy(cells="f64 x single x cpu")
    assert (asked, run.info.skipped, run.info.problems) == ([], (), ())


def test_a_cell_without_its_device_is_skipped_and_the_others_run(asked, replay_toy, judged):
    run = replay_toy(cells="f64 x single x cpu,tpu")
    assert asked == ["tpu"]
    assert run.info.skipped == (Skip("f64/single/tpu", "no tpu: libtpu is not installed"),)
    assert run.info.problems == ()
    assert [worker["cells"] for worker in run.info.workers] == [["f64/single/cpu"]]
    rows = judged(run)
    of = {platform: [row for row in rows if row.drift.cell.endswith(platform)] for platform in ("cpu", "tpu")}
    assert {str(row.verdict) for row in of["cpu"]} == {"pass"}
    assert {(str(row.verdict), row.reason) for row in of["tpu"]} == {("skipped", "no tpu: libtpu is not installed")}
    assert len(of["tpu"]) == len(of["cpu"]) == 16
    assert exit_code(rows, run.info.problems) is ExitCode.PASS


def test_nothing_but_skipped_cells_starts_no_worker_and_is_no_pass(asked, replay_toy, judged):
    run = replay_toy(cells="f64,bf16 x single x tpu")
    assert run.info.workers == ()
    assert list((run.folder / "workers").iterdir()) == []
    assert Run.open(run.folder).info.skipped == run.info.skipped
    assert exit_code(judged(run), run.info.problems) is ExitCode.NOTHING_COMPARED


def test_a_mesh_that_is_larger_than_the_machine_is_skipped(asked):
    family = select.families()["llama4"]
    cells = [Cell("f32", mesh, "gpu") for mesh in ("single", "tp8")]
    skipped = launch.absent(list(select.suites()["tiny"]), cells, {"llama4": family})
    assert skipped == (Skip("f32/tp8/gpu", "gpu: 1 device, tp8 needs 8"),)
    assert asked == ["gpu"]  # once


def test_of_a_mesh_over_several_processes_each_needs_its_share(asked):
    family, cells = select.families()["llama4"], select.select_cells("f32 x tp8,single x gpu")
    cases = list(select.suites()["tiny"])
    assert launch.absent(cases, cells, {"llama4": family}, processes=8) == ()
    (skip,) = launch.absent(cases, cells, {"llama4": family}, processes=4)
    assert skip == Skip("f32/tp8/gpu", "gpu: 1 device, tp8 needs 2")


def test_a_skip_may_be_of_some_cases():
    skips = (Skip("f32/tp4/cpu", "does not fit", "tiny-scout.long"), Skip("f32/single/gpu", "no gpu"))
    assert why_skipped(skips, "tiny-scout.long", "f32/tp4/cpu") == "does not fit"
    assert why_skipped(skips, "tiny-maverick.long", "f32/tp4/cpu") == ""
    assert why_skipped(skips, "tiny-maverick.long", "f32/single/gpu") == "no gpu"
    assert why_skipped(skips, "tiny-scout.long", "f32/tp2/cpu") == ""


# how a worker on an accelerator is started


@pytest.mark.parametrize(
    ("platform", "names", "preallocate"), [("cpu", "cpu", None), ("gpu", "cuda,cpu", "false"), ("tpu", "tpu,cpu", None)]
)
def test_an_environment_names_the_platform_as_jax_does(platform, names, preallocate):
    variables = Environment(sys.executable, platform, x64=False).variables("")
    assert variables["JAX_PLATFORMS"] == names
    assert variables.get("XLA_PYTHON_CLIENT_PREALLOCATE") == preallocate


def test_one_worker_at_a_time_has_an_accelerator(monkeypatch):
    class Started:
        def __init__(self, job):
            self.job = job

    class Asked:
        def __init__(self, platform, x64=False):
            self.environment = Environment(sys.executable, platform, x64)

    gpu, wide, cpu, tpu = Asked("gpu"), Asked("gpu", x64=True), Asked("cpu"), Asked("tpu")
    waiting = list(enumerate([wide, cpu, tpu]))
    assert processes._startable(waiting, [Started(gpu)], 4) == (1, cpu)
    assert processes._startable(waiting, [Started(cpu)], 4) == (0, wide)
    assert processes._startable([(0, wide)], [Started(gpu), Started(cpu)], 4) is None
    assert processes._startable([(1, cpu)], [Started(cpu)], 4) == (1, cpu)
    assert processes._startable([], [], 4) is None


@pytest.mark.parametrize(
    ("dtype", "platform", "precision"),
    [("f32", "cpu", None), ("f32", "gpu", "highest"), ("f64", "tpu", "highest"), ("f32@tf32", "gpu", "highest"),
     ("bf16", "gpu", None), ("f16", "tpu", None)],
)  # fmt: skip
def test_wide_products_are_asked_for_whole_on_accelerators(dtype, platform, precision):
    assert select.policies()[dtype].precision_on(platform) == precision


def test_a_product_without_a_precision_is_computed_as_jax_was_asked(replay_toy, monkeypatch, tmp_path):
    """The CPU ignores it, so the program is read: here with a policy that asks for it there."""
    from paritygate.replay.worker import _ask_precision

    before = jax.config.jax_default_matmul_precision
    try:
        _ask_precision(select.policies()["f32"], Cell("f32", "single", "gpu"))
        text = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((4, 4), "float32")).as_text()
        assert "precision = [HIGHEST, HIGHEST]" in text
        _ask_precision(select.policies()["bf16"], Cell("bf16", "single", "gpu"))
        text = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((4, 4), "float32")).as_text()
        assert "HIGHEST" not in text
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def test_the_candidates_own_products_are_whole_in_every_policy():
    for policy in select.policies().values():
        if not policy.x64 or jax.config.jax_enable_x64:
            assert numerics_of(policy).precision is jax.lax.Precision.HIGHEST
    assert Numerics.like_hf("float32").precision is jax.lax.Precision.HIGHEST


# floors of a platform


def test_where_a_floor_comes_from_is_said(toy_store):
    from dataclasses import replace

    golden = toy_store.read("toy", "toy-2.plain")
    bf16 = Cell("bf16", "single", "gpu")
    assert launch.floor_from(Cell("bf16", "single", "cpu"), []) == "peer in torch bfloat16"
    assert launch.floor_from(Cell("f64", "single", "gpu"), [golden]) == "none: fixed limits"
    assert launch.floor_from(bf16, [golden]) == "peer in torch bfloat16 on cpu; none captured on gpu"
    own = replace(golden, ports=tuple(replace(port, floors_on={"gpu": port.floors}) for port in golden.ports))
    assert launch.floor_from(bf16, [own]) == "peer in torch bfloat16 on gpu"
    words = "peer in torch bfloat16 on cpu; those of 1 of 2 cases captured on gpu"
    assert launch.floor_from(bf16, [own, golden]) == words


def test_run_info_of_before_is_read(replay_toy):
    run = replay_toy()
    path = Path(run.folder) / "run.json"
    data = json.loads(path.read_text())
    del data["skipped"]
    path.write_text(json.dumps(data))
    assert Run.open(run.folder).info.skipped == ()
