"""The toy on meshes of virtual devices: a right port passes, a fault that only a mesh shows is `sharding`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limits import EPS
from toy.workplace import TOY, Workplace

LAYOUTS = ("single", "tp2", "fsdp2")
CELLS = f"f64 x {','.join(LAYOUTS)} x cpu"


@pytest.fixture
def on_mesh(place: Workplace, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """on_mesh("stale", code=1) → what `run --json` says with `toy_meshes:stale` as the candidate's `sharded`."""

    def run(name: str, code: int) -> dict[str, Any]:
        directory = shutil.copytree(TOY, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
        family = directory / "families" / "toy.py"
        text = family.read_text()
        assert text.count("toy_jax:sharded") == 1
        family.write_text(text.replace("toy_jax:sharded", f"toy_meshes:{name}"))
        return Workplace(place.root, directory).done(
            "run", "toy", "--cells", CELLS, "--no-explain", "--json", code=code
        ).json  # fmt: skip

    return run


def test_a_right_port_passes_on_meshes_and_what_does_not_fit_is_skipped(place: Workplace) -> None:
    found = place.done("run", "toy", "--cells", "f64,f32 x tp2,fsdp2,sp2,tp4 x cpu", "--json").json
    cells = found["summary"]["cells"]
    values = 16
    for layout in ("tp2", "fsdp2", "sp2"):
        assert cells[f"f64/{layout}/cpu"] == cells[f"f32/{layout}/cpu"] == {"pass": values}
    assert cells["f64/tp4/cpu"] == {"skipped": values}
    said = place.done("show", found["run"], "head:out").out
    assert "tp4 does not divide hidden = 14" in said
    assert found["coverage"]["gaps"] == [] and found["reproducible"]

    drifts = [json.loads(line) for line in (Path(found["folder"]) / "drifts.jsonl").read_text().splitlines()]
    beside = {drift["cell"]: drift["reassociated"] for drift in drifts if drift["port"] == "out"}
    assert beside["f64/tp2/cpu"] is None
    assert 0.0 <= beside["f32/tp2/cpu"]["apart"] <= beside["f32/tp2/cpu"]["bound"] < EPS["bf16"]


def test_a_run_of_nothing_that_fits_compares_nothing(place: Workplace) -> None:
    place.done("run", "toy", "--cells", "f64 x tp4", code=5)


def first(found: dict[str, Any], cell: str) -> dict[str, Any]:
    return next(each for each in found["first_divergences"] if each["cell"] == cell)


def test_a_sum_that_is_counted_twice_is_sharding_with_its_axis(on_mesh: Callable[..., dict[str, Any]]) -> None:
    found = on_mesh("summed_twice", code=1)
    assert [each["cell"] for each in found["first_divergences"]] == ["f64/tp2/cpu"]
    row = first(found, "f64/tp2/cpu")["row"]
    assert (row["drift"]["site"], row["drift"]["port"], row["diagnosis"]) == ("layers.0", "out", "sharding")
    assert row["evidence"].endswith("in every layout with tp, in none without")


def test_parts_that_are_rounded_to_16_bits_before_they_are_added_are_precision(place: Workplace) -> None:
    # The toy multiplies in its own dtype, so that each device rounds its part of a sum: no matter on one.
    found = place.done("run", "toy", "--cells", "f64,bf16 x single,tp2", "--json", code=1).json
    (divergence,) = found["first_divergences"]
    assert (divergence["cell"], divergence["row"]["diagnosis"]) == ("bf16/tp2/cpu", "precision")
    assert (divergence["row"]["drift"]["site"], found["not_explained"]) == ("layers.1", "")


def test_a_sum_that_is_made_by_hand_passes(on_mesh: Callable[..., dict[str, Any]]) -> None:
    assert on_mesh("summed_right", code=0)["first_divergences"] == []


def test_a_stale_copy_is_found_in_the_parameter_and_in_what_is_made_of_it(
    on_mesh: Callable[..., dict[str, Any]],
) -> None:
    found = on_mesh("stale", code=1)
    gaps = {(gap["part"], gap["where"]) for gap in found["coverage"]["gaps"]}
    assert gaps == {("placement", "['layers'][1]['norm']['weight'].value")}
    assert "copies on devices 0 and 1 differ" in found["coverage"]["gaps"][0]["why"]
    row = first(found, "f64/tp2/cpu")["row"]
    assert (row["verdict"], row["diagnosis"]) == ("mismatch", "sharding")
