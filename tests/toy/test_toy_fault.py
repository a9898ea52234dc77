"""`run --fault`: what a run says of a fault that was planted on purpose, and that nothing of such a run is accepted."""

import shutil
from pathlib import Path

import pytest

from paritygate.core.run import Run

from toy.workplace import TOY, Workplace

FAULTS = '''"""A fault of the toy's norm, and a variant that computes the same."""

from paritygate.core.fault import Fault, FaultGroup, Patch

NORM = "toy_jax:Norm.__call__"
GROUP = FaultGroup(
    "toy-norm",
    "toy",
    (
        Fault("eps-tenfold", "semantic", (Patch(NORM, "1e-5", "1e-4"),), "toy/toy-2.plain", ("layers.0.norm:out",)),
        Fault("square-by-power", "harmless", (Patch(NORM, "wide * wide", "wide**2"),), "toy/toy-2.plain"),
        Fault("of-another-source", "semantic", (Patch(NORM, "1e-9", "1e-4"),), "toy/toy-2.plain"),
    ),
)
'''


@pytest.fixture(scope="module")
def faulty(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The toy with faults of its own in the catalog."""
    directory = tmp_path_factory.mktemp("faulty") / "toy"
    shutil.copytree(TOY, directory, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    (directory / "faults").mkdir()
    (directory / "faults" / "norm.py").write_text(FAULTS)
    return Workplace(place.root, directory)


@pytest.fixture(scope="module")
def planted(faulty: Workplace) -> Run:
    """Its own case is the one that is run where none is named."""
    said = faulty.done("run", "--fault", "eps-tenfold", "--cells", "f64,bf16", "--json", code=1)
    return Run.open(Path(said.json["folder"]))


def test_a_planted_fault_is_judged_and_blamed_as_if_it_were_the_candidates_own(faulty: Workplace, planted: Run):
    assert (planted.info.fault, planted.info.cases) == ("eps-tenfold", ("toy-2.plain",))
    located = faulty.done("locate", planted.folder.name, code=1).out
    assert "layers.0.norm:out" in located and "semantic" in located
    (blame,) = planted.blames()
    assert blame.parting and blame.parting.address == "layers.0.norm:out"  # it was planted there too
    shown = faulty.done("report", planted.folder.name, "--text", "verdict").out
    assert "Planted in the candidate, to see what is said of it: eps-tenfold." in shown


@pytest.mark.parametrize("asked", [["approve", "--select", "*", "--reason", "why not"], ["programs", "--accept"]])
def test_nothing_of_it_is_accepted(faulty: Workplace, planted: Run, asked: list[str]):
    verb, *options = asked
    assert faulty.done(verb, planted.folder.name, *options, code=2).err == (
        f"run is of a candidate with a planted fault: {planted.folder.name}\n"
        "  expected  a run of the candidate as it is\n"
        "  got       --fault eps-tenfold\n"
        "  try       paritygate run toy\n"
    )
    assert not (faulty.root / "golden" / "baselines").exists()


def test_a_harmless_variant_passes(faulty: Workplace):
    faulty.done("run", "toy-2.plain", "--fault", "square-by-power", "--cells", "f64", "--mode", "isolated")


def test_a_patch_that_does_not_apply_ends_the_run_with_what_it_looked_for(faulty: Workplace):
    said = faulty.done("run", "--fault", "of-another-source", "--cells", "f64", "--json", code=4)
    (problem,) = said.json["problems"]
    assert "patch does not apply" in problem and "exactly once: '1e-9'" in problem


def test_a_fault_that_is_not_there_or_of_another_candidate_is_refused(faulty: Workplace):
    assert "did you mean eps-tenfold" in faulty.done("run", "--fault", "eps-tenfolds", code=2).err
    assert faulty.done("run", "toy", "--fault", "kv-heads-tiled", code=2).err == (
        "fault of another candidate: --fault kv-heads-tiled\n"
        "  expected  cases of the family llama4\n"
        "  got       toy-2.plain\n"
    )


def test_a_run_is_resumed_with_the_fault_that_it_has(faulty: Workplace, planted: Run):
    assert "--fault" in faulty.done("run", "--resume", planted.folder.name, "--fault", "eps-tenfold", code=2).err
