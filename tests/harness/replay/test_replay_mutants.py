"""Replaying with faults: a worker plants one after another, and says of all at once which cannot be planted."""

from pathlib import Path

import pytest

from paritygate.catalog.select import select_cells
from paritygate.core.drift import Drift
from paritygate.core.errors import NothingComparedError
from paritygate.core.family import Case
from paritygate.core.fault import Patch
from paritygate.replay.job import Planting
from paritygate.replay.mutants import replay_mutants

TOY = Path(__file__).parents[2] / "toy"
NORM = "toy_jax:Norm.__call__"


@pytest.fixture
def planted(toy_store, tmp_path):
    """planted({fault: patch}) → the drifts of each fault in the order they came, and the problems."""

    def run(patches: dict[str, Patch]) -> tuple[dict[str, list[Drift]], list[str]]:
        case, cells = Case.parse("toy", "toy-2.plain"), tuple(select_cells("f64"))
        plantings = [Planting(fault, (patch,), "toy", case, cells) for fault, patch in patches.items()]
        found: dict[str, list[Drift]] = {}
        return found, replay_mutants(
            plantings, toy_store, tmp_path / "run", found.__setitem__, extensions=(TOY,), workers=1
        )

    return run


def test_a_fault_leaves_nothing_behind_for_the_next(planted) -> None:
    found, problems = planted({"eps": Patch(NORM, "1e-5", "1e-3"), "same": Patch(NORM, "wide * wide", "wide**2")})
    assert problems == []
    worst = {fault: max(drift.metrics["rel_l2"] for drift in drifts) for fault, drifts in found.items()}
    assert list(worst) == ["eps", "same"]
    assert len(found["eps"]) == len(found["same"]) == 16
    assert worst["eps"] > 2.0**-20 > 2.0**-40 > worst["same"]


def test_patches_that_do_not_apply_are_all_named_before_any_fault_is_planted(planted) -> None:
    found, (problem,) = planted(
        {"good": Patch(NORM, "1e-5", "1e-3"), "gone": Patch(NORM, "1e-9", "0"), "typo": Patch("toy_jax:Nrom", "a", "b")}
    )
    assert found == {}
    for words in ("faults cannot be planted", "gone: patch does not apply: toy_jax:Norm", "typo: cannot load code"):
        assert words in problem
    assert "good" not in problem


def test_nothing_to_plant_is_no_pass(planted) -> None:
    with pytest.raises(NothingComparedError, match="no fault to plant"):
        planted({})
