"""`compile`: a rehearsal on this machine's CPU goes the whole way; what cannot be compiled for is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paritygate.catalog.meshes import parse_axes
from paritygate.catalog.sizes import SIZES
from paritygate.catalog.targets import CHIPS, default_axes, layouts, parse_target
from paritygate.core.compilation import written
from paritygate.core.errors import ExitCode, UsageError
from paritygate.replay import orders
from paritygate.replay.compiling import needed

pytestmark = pytest.mark.usefixtures("compiled_quickly")
REHEARSAL = ("compile", "rehearsal", "--target", "cpu:8", "--length", "32")


def test_a_rehearsal_says_whether_it_fits_and_what_it_takes(paritygate: Callable) -> None:
    said = paritygate(*REHEARSAL, "--mesh", "fsdp4tp2", "--json")
    assert said.code == ExitCode.PASS, said.err
    (found,) = json.loads(said.out)["compilations"]
    assert (found["outcome"], found["cell"]) == ("fits", "bf16/fsdp4tp2/cpu:8 (compiled)")
    memory = found["compiled"]["program"]["memory_bytes"]
    assert memory["arguments"] > 0 and memory["temporaries"] > 0
    assert {row["axes"] for row in found["traffic"]} >= {"fsdp", "tp"}
    # Every expert on every token: the expert products alone are this many.
    config, tokens = SIZES["rehearsal"].config, 4 * 32
    expert = 3 * 2 * config["hidden_size"] * config["intermediate_size"] * config["num_local_experts"]
    assert sum(dot["flops"] for dot in found["compiled"]["dots"]) > tokens * config["num_hidden_layers"] * expert / 8
    assert found["roofline"]["compute_s"] > 0 and found["compile_s"] > 0


def test_a_sweep_ranks_what_fits_and_a_failing_layout_is_a_row(paritygate: Callable) -> None:
    said = paritygate(*REHEARSAL, "--mesh", "tp8,fsdp4tp2", "--mode", "decode", "--batch", "4", "--dispatch", "ragged")
    assert said.code == ExitCode.PASS, said.out
    lines = said.out.splitlines()
    assert " FIT  rehearsal on cpu:8: decode, bf16, batch 4, length 32." in lines[0]
    assert any(line.startswith("tp8 ") for line in lines) and any(line.startswith("fsdp4tp2 ") for line in lines)


def test_a_mesh_that_does_not_divide_the_model_is_said_of_its_layout(paritygate: Callable) -> None:
    said = paritygate("compile", "rehearsal", "--target", "cpu:3", "--mesh", "tp3", "--length", "32")
    assert said.code == ExitCode.DRIFT
    assert said.out.startswith("FAILED  rehearsal, prefill") and "mesh does not divide the model" in said.out


def test_a_program_is_held_to_what_was_recorded_of_it(paritygate: Callable, environ: dict[str, str]) -> None:
    asked = (*REHEARSAL, "--mesh", "tp8", "--mode", "decode", "--batch", "1")
    assert "recorded  " in paritygate(*asked, "--accept").out
    (file,) = (Path(environ["PARITYGATE_GOLDEN"]) / "programs" / "full").iterdir()
    again = paritygate(*asked)
    assert again.code == ExitCode.PASS, again.out
    kept = [line for line in file.read_text().splitlines(keepends=True) if '"kind":"all-reduce"' not in line]
    file.write_text("".join(kept))
    other = paritygate(*asked)
    assert other.code == ExitCode.DRIFT and "more all-reduce" in other.out


def test_a_program_that_was_recorded_and_no_longer_compiles_is_not_passed_over(
    paritygate: Callable, environ: dict[str, str]
) -> None:
    asked = ("compile", "rehearsal", "--target", "cpu:3", "--length", "32", "--batch", "3")
    assert paritygate(*asked, "--mesh", "dp3", "--accept").code == ExitCode.PASS
    (file,) = (Path(environ["PARITYGATE_GOLDEN"]) / "programs" / "full").iterdir()
    # As if three devices had once divided the heads.
    file.with_name(file.name.replace("dp3", "tp3")).write_text(file.read_text().replace("/dp3/", "/tp3/"))
    both = paritygate(*asked, "--mesh", "dp3,tp3")
    assert "1 of 2 FIT" in both.out and "tp3/cpu:3 (compiled): was recorded, and is not there" in both.out
    assert both.code == ExitCode.DRIFT


def test_a_worker_that_runs_out_of_time_says_nothing_of_the_program(paritygate: Callable) -> None:
    said = paritygate(*REHEARSAL, "--mesh", "tp8", "--timeout", "1")
    assert said.code == ExitCode.INFRASTRUCTURE
    assert said.out.startswith("LOST  rehearsal, prefill")
    assert "ran longer than 1 s and was stopped" in " ".join(said.out.split())


@pytest.mark.parametrize(("target", "extra"), [("v5p:4x4x4", "tpu-compile"), ("h100:8", "gpu-compile")])
def test_without_the_compiler_one_line_says_what_to_install(
    paritygate: Callable, monkeypatch: pytest.MonkeyPatch, target: str, extra: str
) -> None:
    monkeypatch.setattr(orders, "installed", lambda module: False)
    said = paritygate("compile", "scout", "--target", target)
    assert said.code == ExitCode.INFRASTRUCTURE
    assert said.err == f"no compiler for {target} here: pip install 'paritygate[{extra}]'\n"


def test_a_mesh_of_another_size_is_refused_with_one_that_fits(paritygate: Callable) -> None:
    said = paritygate("compile", "scout", "--target", "v5p:4x4x4", "--mesh", "fsdp4tp4")
    assert said.code == ExitCode.USAGE
    assert "expected  64 devices, those of v5p:4x4x4" in said.err and "--mesh fsdp16tp4" in said.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("v5:4x4", "expected  one of cpu, h100, h200, tpu7x, v5e, v5p, v6e"),
        ("v5p:4x4", "expected  three numbers, such as v5p:4x4x4"),
        ("v5e:0x4", "expected  two numbers, such as v5e:4x4"),
        ("h100", "hosts x devices of a host, such as h100:8"),
        ("h100:16", "try       --target h100:2x8"),
    ],
)
def test_a_target_that_there_is_not_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as reason:
        parse_target(text)
    assert says in str(reason.value)


@pytest.mark.parametrize("text", ["", "fsdp", "fsdp16xx4", "fsdp0", "tp2tp4", "16"])
def test_a_bad_mesh_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="bad mesh"):
        parse_axes(text)


@pytest.mark.parametrize("name", CHIPS)
def test_meshes_that_are_proposed_have_as_many_devices_as_the_target(name: str) -> None:
    target = parse_target(CHIPS[name].example)
    for axes in (default_axes(target), *layouts(target, 16)):
        count = 1
        for _, size in axes:
            count *= size
        assert count == target.devices and parse_axes(written(axes)) == axes


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [
        (
            "RESOURCE_EXHAUSTED: the total memory required for HLO temporaries (26.50G) exceeds available HBM.",
            26.5,
        ),
        ("Ran out of memory in memory space hbm. Used 121.50G of 95.74G hbm.", 121.5),
        ("Out of memory: attempting to allocate 2.00GiB", 2.0),
        ("INTERNAL: Mosaic failed", 0.0),
    ],
)
def test_what_a_message_says_is_needed(text: str, gigabytes: float) -> None:
    assert needed(text) == int(gigabytes * (1 << 30))
