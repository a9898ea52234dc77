"""Where a fault of precision is planted, the line that it put in is ranked first of those that the drift comes from."""

import inspect
from pathlib import Path

import pytest

from jax_llama4 import norms
from paritygate.catalog.select import case_of, select_cells, select_faults
from paritygate.cli.main import main
from paritygate.cli.mutants import read_mutants
from paritygate.core.blame import Blame, BlamedFault
from paritygate.core.cell import Mode
from paritygate.core.errors import ExitCode
from paritygate.core.fault import Patch
from paritygate.replay.blaming import blame_all
from paritygate.replay.job import Asked, Planting
from paritygate.replay.plant import planted_lines
from paritygate.store.golden import GoldenStore

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
# One of each part that a candidate may compute in 16 bits.
PARTS = (
    "rms-norm-in-16-bits",
    "softmax-in-16-bits",
    "router-sigmoid-in-16-bits",
    "linear-summed-in-16-bits",
    "rope-rotation-in-16-bits",
    "rope-frequencies-in-16-bits",
    "patch-angles-in-16-bits",
)
FAULTS = [fault for _, fault in select_faults(PARTS)]
# The row of these is looked for; of the others it is recorded.
SOUGHT = ["router-logits-in-16-bits"] + [f.name for _, f in select_faults(["precision"]) if "residual" in f.name]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, compile_cache: Path) -> dict[str, tuple[Blame, tuple[str, ...]]]:
    """The lines blamed for the row that the recorded kill matrix blames first, all faults planted in one worker."""
    recorded = {(mutant.fault, mutant.cell): mutant for mutant in read_mutants(GOLDEN / "mutations.jsonl")}
    plantings = []
    for fault in FAULTS:
        suite, case = case_of(fault)
        (cell,) = select_cells(fault.sees)
        mutant = recorded[fault.name, str(cell)]
        of_row = [drift for drift in mutant.drifts if drift.address == mutant.blamed]
        drift = next((each for each in of_row if each.mode == Mode.ISOLATED), of_row[0])
        asked = Asked(suite, case, cell, drift.mode, drift.site, drift.port, drift.call, "lines")
        plantings.append(Planting(fault.name, fault.patches, suite, case, (), (asked,)))
    folder = tmp_path_factory.mktemp("blamed")
    blamed = blame_all((), plantings, GoldenStore(GOLDEN), folder, workers=1, compile_cache=compile_cache)
    assert blamed.problems == ()
    return blamed.of_faults


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_the_planted_line_is_ranked_first_and_raising_it_gives_most(found, name) -> None:
    blame, planted = found[name]
    fault = BlamedFault(name, blame.cell, planted, blame)
    assert fault.place == 1 and fault.gives_most, [line.text for line in blame.lines[:3]]
    assert blame.unequal == 0.0


def test_the_command_plants_finds_the_first_row_and_blames_it(tmp_path, compiled_here, capfd) -> None:
    environ = {
        "PARITYGATE_GOLDEN": str(GOLDEN),
        "PARITYGATE_RUNS": str(tmp_path / "runs"),
        "XDG_CACHE_HOME": str(compiled_here),
    }
    code = main(("mutate", *SOUGHT, "--explain", "--workers", "1"), environ)
    said = " ".join(capfd.readouterr().out.split())
    assert "router-logits-in-16-bits bf16 layers." in said
    count = len(SOUGHT)
    # Raising one line of the residual stream gives little: the other that the fault puts in rounds it again.
    assert f"{count} faults of precision: the planted line is ranked first of {count}, gives most of " in said
    assert code == ExitCode.PASS
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("patches", "added"),
    [
        ((Patch("jax_llama4.norms:_divide_by_rms", "+ eps)", "+ 2 * eps)"),), [1]),
        ((Patch("jax_llama4.norms:_divide_by_rms", "    return x", "    y = 2\n    y = 3\n    return x"),), [1, 2]),
    ],
)
def test_planted_lines_are_those_that_the_file_does_not_have(patches, added) -> None:
    _, start = inspect.getsourcelines(norms._divide_by_rms)
    assert planted_lines(patches) == [(norms.__file__, start + 1 + number) for number in added]
