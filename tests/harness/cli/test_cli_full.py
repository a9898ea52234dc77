"""The suite `full`: a rehearsal is compiled, recorded and held to it; what cannot be compiled here is skipped."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paritygate.catalog import full, select
from paritygate.catalog.sizes import SIZES
from paritygate.core.cell import Cell
from paritygate.core.errors import ExitCode, UsageError
from paritygate.core.run import Run
from paritygate.replay import orders
from paritygate.store.programs import read_programs

pytestmark = pytest.mark.usefixtures("compiled_quickly")
ROOT = Path(__file__).resolve().parents[3]
CELL = "bf16/fsdp4tp2/cpu:8 (compiled)"
PREFILL = ("run", "rehearsal.prefill-4x32", "--cells", CELL)
TPU = "bf16/fsdp16tp4/v5p:4x4x4 (compiled)"


@pytest.fixture
def golden(environ: dict[str, str]) -> Path:
    """A folder of goldens with what is committed of budgets and programs."""
    import shutil

    folder = Path(environ["PARITYGATE_GOLDEN"])
    (folder / "programs").mkdir(parents=True)
    shutil.copy(ROOT / "golden" / "budgets.toml", folder)
    shutil.copytree(ROOT / "golden" / "programs" / "full", folder / "programs" / "full")
    return folder


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a function of `planted_full` in the place of the family's `abstract`."""

    def plant(name: str) -> None:
        known = select.families()
        family = known["llama4"]
        changed = replace(family, candidate=replace(family.candidate, abstract=f"planted_full:{name}"))
        monkeypatch.setattr(orders, "families", lambda: {**known, "llama4": changed})

    return plant


# names


@pytest.mark.parametrize("text", [CELL, TPU, "bf16/single/cpu", "f64/tp8/h100:8 (compiled)"])
def test_a_cell_is_read_as_it_is_written(text: str) -> None:
    assert str(Cell.parse(text)) == text
    assert Cell.parse(text).is_compiled == text.endswith("(compiled)")
    assert select.select_cells(text) == [Cell.parse(text)]


def test_an_expression_may_have_targets() -> None:
    cells = select.select_cells("bf16,f32 x fsdp16tp4 x v5p:4x4x4")
    assert list(map(str, cells)) == [TPU, TPU.replace("bf16", "f32")]
    with pytest.raises(UsageError, match="three numbers, such as v5p:4x4x4"):
        select.select_cells("bf16 x fsdp16tp4 x v5p:4x4")
    with pytest.raises(UsageError, match="unknown target: gpus"):
        select.select_cells("bf16 x fsdp16tp4 x gpus:8")


def test_every_case_of_the_suite_is_a_pass_of_a_size() -> None:
    for case in full.full_cases():
        target = "cpu:1" if case.startswith("rehearsal") else "v5p:1x1x1"
        assert full.order_of(case, Cell("bf16", "single", target)).name == case
    assert {case.partition(".")[0] for case in full.full_cases()} == set(SIZES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scout", ["scout.prefill-1x2048", "scout.prefill-16x2048", "scout.decode-128x8192", "scout.train-16x2048"]),
        ("*.train*", ["scout.train-16x2048", "rehearsal.train-4x32"]),
        ("scout.prefill-2x64-ragged", ["scout.prefill-2x64-ragged"]),
        ("", full.full_cases()),
    ],
)
def test_cases_are_chosen_by_size_glob_or_in_full(text: str, says: list[str]) -> None:
    assert full.select_full(text) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scot", "did you mean scout"),
        ("scot.prefill-1x8", "unknown size: scot"),
        ("scout.prefil-1x8", "unknown pass: prefil"),
    ],
)
def test_a_case_that_there_is_not_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        full.select_full(text)
    assert says in str(refused.value)


def test_a_size_is_compiled_for_targets_that_it_is_for() -> None:
    found = full.select_orders("", f"{TPU}; {TPU.replace('bf16', 'f32')}; {CELL}", [])
    assert {(order.size, order.target.chip.platform) for order in found} == {
        ("scout", "tpu"), ("maverick", "tpu"), ("rehearsal", "cpu"),
    }  # fmt: skip


def test_without_cells_what_is_recorded_is_compiled() -> None:
    recorded = [("scout.train-16x2048", TPU), ("rehearsal.prefill-4x32", CELL)]
    assert [(order.name, order.cell) for order in full.select_orders("", "", recorded)] == recorded
    assert [order.name for order in full.select_orders("rehearsal", "", recorded)] == ["rehearsal.prefill-4x32"]


# what is asked in vain


def test_cells_of_devices_that_are_not_here_are_not_run(paritygate: Callable, golden: Path) -> None:
    said = paritygate("run", "tiny", "--cells", TPU)
    assert said.code == ExitCode.USAGE
    assert "nothing runs on devices that are not here: bf16/fsdp16tp4/v5p:4x4x4 (compiled)" in said.err
    assert 'paritygate run full --cells "bf16 x fsdp16tp4 x v5p:4x4x4"' in said.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--cells", "bf16 x tp8 x cpu"), "full sizes are compiled, and not run: bf16/tp8/cpu"),
        (("--cells", "bf16 x fsdp4tp4 x v5p:4x4x4"), "expected  64 devices, those of v5p:4x4x4"),
        (("--mode", "chained"), "full sizes are compiled, and not replayed: --mode chained"),
        (("--processes", "2"), "full sizes are compiled, and not replayed: --processes 2"),
        (("--routing", "golden"), "full sizes are compiled, and not replayed: --routing golden"),
    ],
)
def test_what_full_sizes_are_not_is_refused(
    paritygate: Callable, golden: Path, options: tuple[str, ...], says: str
) -> None:
    said = paritygate("run", "full", *options)
    assert (said.code, says in said.err) == (ExitCode.USAGE, True), said.err


def test_nothing_recorded_is_nothing_to_compile(paritygate: Callable, golden: Path) -> None:
    for file in (golden / "programs" / "full").iterdir():
        file.unlink()
    said = paritygate("run", "full")
    assert (said.code, "nothing to compile: full" in said.err) == (ExitCode.NOTHING_COMPARED, True)


def test_words_that_the_candidate_lacks_are_a_mistake_of_usage(paritygate: Callable) -> None:
    said = paritygate("compile", "rehearsal", "--target", "cpu:8", "--dispatch", "ragge")
    assert said.code == ExitCode.USAGE
    assert "unknown dispatch: ragge" in said.err and "did you mean ragged" in said.err


def test_the_family_knows_the_words_of_its_candidate() -> None:
    from typing import get_args

    from jax_llama4.dispatch import Dispatch

    assert select.families()["llama4"].candidate.dispatches == get_args(Dispatch)


# without the compilers


def test_what_cannot_be_compiled_here_is_skipped_with_what_to_install(
    paritygate: Callable, golden: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "installed", lambda module: False)
    said = paritygate("run", "full", "--cells", TPU)
    assert said.code == ExitCode.NOTHING_COMPARED
    line = "no compiler for v5p:4x4x4 here: pip install 'paritygate[tpu-compile]'"
    assert said.out.startswith("NOTHING  ") and line in said.out.replace("\n", " ")
    (folder,) = Path(environ["PARITYGATE_RUNS"]).iterdir()
    run = Run.open(folder)
    assert {(row.verdict, row.reason) for row in run.judged()} == {("skipped", line)}
    assert paritygate("gate", folder.name).code == ExitCode.NOTHING_COMPARED


def test_a_worker_that_is_lost_is_infrastructure(paritygate: Callable, golden: Path) -> None:
    said = paritygate(*PREFILL, "--timeout", "1")
    assert said.code == ExitCode.INFRASTRUCTURE
    assert said.out.startswith("INCOMPLETE  ") and "ran longer than 1 s and was stopped" in said.out.replace("\n", " ")


# against the record


@pytest.mark.timeout(1200)
def test_what_is_committed_of_the_rehearsal_is_what_compiles_today(
    paritygate: Callable, golden: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells of the suite that every machine can hold; the others are skipped where no compiler is installed."""
    monkeypatch.setattr(orders, "installed", lambda module: False)
    said = paritygate("run", "full", "--json")
    assert said.code == ExitCode.PASS, said.out
    value = json.loads(said.out)
    cases = [case for case in full.full_cases() if case.startswith("rehearsal")]
    assert value["summary"]["verdicts"] == {
        "pass": len(cases), "skipped": len(read_programs(golden / "programs", "full")) - len(cases),
    }  # fmt: skip
    folder = Path(environ["PARITYGATE_RUNS"]) / value["run"]
    run = Run.open(folder)
    assert {each.order.name for each in run.compilations()} == set(cases)
    assert {each.name for each in run.programs()} == set(cases)
    assert all(each.roofline is not None and each.outcome == "fits" for each in run.compilations())
    page = (folder / "report.html").read_text()
    assert "Compiled for devices that need not be here" in page
    text = paritygate("report", folder.name, "--text", "compilations").out
    assert "rehearsal.train-4x32" in text and "Collectives, a pass and device" in text
    assert paritygate("programs", folder.name).code == ExitCode.PASS
    # Judged again on a record in which the program sends less than it does: no compiler is needed for that.
    file = next((golden / "programs" / "full").glob("*cpu-8*"))
    kept = [line for line in file.read_text().splitlines(keepends=True) if '"kind":"all-reduce"' not in line]
    file.write_text("".join(kept))
    assert paritygate("judge", folder.name).code == ExitCode.PASS
    gated = paritygate("gate", folder.name)
    assert gated.code == ExitCode.DRIFT
    assert "more all-reduce of" in gated.out and "prefill-4x32:program" in gated.out
    assert paritygate("programs", folder.name).code == ExitCode.DRIFT
    assert paritygate("programs", folder.name, "--accept").code == ExitCode.PASS
    assert paritygate("judge", folder.name).code == paritygate("gate", folder.name).code == ExitCode.PASS


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("gathering", "more all-gather of weights['model']['layers'][*]['feed_forward']['shared_expert']['down_proj']"),
        ("replicating", "whole on every device"),
    ],
)
def test_a_planted_fault_fails_and_names_its_line(
    paritygate: Callable, golden: Path, planted: Callable[[str], None], fault: str, says: str
) -> None:
    planted(fault)
    said = paritygate(*PREFILL, PARITYGATE_PATH=str(Path(__file__).parent))
    text = " ".join(said.out.split())
    assert said.code == ExitCode.DRIFT, said.out
    assert says in text
    assert "at planted_full.py:" in text if fault == "gathering" else "at moe.py:" in text
