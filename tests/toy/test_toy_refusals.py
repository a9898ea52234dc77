"""What cannot be run, or not to its end, on the toy: what is said, and which exit code."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toy.workplace import TOY, Workplace

BUDGETS = TOY.parents[1] / "golden" / "budgets.toml"
CASE = "toy-2.plain"
DTYPES = ("f64", "f32", "f16", "bf16")
VALUES = 8  # ports of the two-layer preset that are no inputs


def test_unknown_names_are_code_2_and_cost_nothing(good: dict[str, Any], place: Workplace) -> None:
    before = place.run_folders()
    for arguments, text in (
        (("run", "toi"), "unknown suite, preset or case: toi\n"),
        (("run", "toy", "--cells", "bf61"), "unknown dtype policy: bf61\n"),
        (("run", "toy", "--mode", "both-of-them"), "unknown mode: both-of-them\n"),
        (("capture", "toy-2.plane"), "unknown suite, preset or case: toy-2.plane\n"),
        (("show", good["run"], "haed:out"), "no row matches: haed:out\n"),
        (("gate", good["run"] + "x"), f"unknown run: {good['run']}x\n"),
    ):
        said = place.done(*arguments, code=2)
        assert said.err.startswith(text)
        assert "Traceback" not in said.err and said.out == ""
    assert place.run_folders() == before


def port_object(golden: Path, port: str) -> Path:
    manifest = json.loads((golden / "toy" / f"{CASE}.json").read_text())
    (name,) = {p["tensor"]["object"] for p in manifest["ports"] if f"{p['site']}:{p['port']}" == port}
    return golden / "objects" / name[:2] / f"{name}.safetensors"


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_object_is_code_3_and_never_a_drift(place: Workplace, tmp_path: Path, damage: str) -> None:
    golden = place.root / f"golden-{tmp_path.name}"
    shutil.copytree(place.root / "golden", golden)
    path = port_object(golden, "layers.1.norm:out")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if damage == "gone" else path.write_bytes(content if damage == "flipped" else content[:-1])
    broken, before = Workplace(place.root, place.extension, golden.name), place.run_folders()

    serves = f"{CASE} layers.1.norm:out"
    for said in (broken.done("golden", "verify", code=3), broken.done("run", "toy", "--cells", "f64", code=3)):
        text = said.out + said.err
        assert path.stem in text and serves in text
        assert ("missing" if damage == "gone" else "corrupt") in text
    (finding,) = broken.done("golden", "verify", "--json", code=3).json["findings"]
    assert finding["object"] == f"object {path.stem}" and serves in finding["ports"]
    assert place.run_folders() == before, "no worker was started"


def test_a_golden_that_is_not_there_or_of_another_spec_is_code_3(
    place: Workplace, tmp_path: Path, variant: Callable[[str], Workplace]
) -> None:
    empty = Workplace(place.root, place.extension, f"golden-{tmp_path.name}")
    (place.root / empty.golden).mkdir()
    shutil.copy(BUDGETS, place.root / empty.golden)
    assert f"toy/{CASE}: no golden" in empty.done("run", "toy", code=3).err
    empty.done("golden", "verify", code=3)

    changed = variant("inherits")
    family = changed.extension / "families" / "toy.py"
    family.write_text(family.read_text().replace("scale=0.3", "scale=0.4"))
    assert "golden is stale" in changed.done("run", "toy", code=3).err


def test_a_killed_worker_is_code_4_and_says_which(variant: Callable[[str], Workplace]) -> None:
    place = variant("killed")
    said = place.done("run", "toy", "--cells", "f32,bf16", "--json", code=4).json
    (problem,) = said["problems"]
    assert re.match(r"worker for f32/single/cpu, bf16/single/cpu was killed by signal 9: ", problem)
    assert said["summary"]["cells"] == {
        "f32/single/cpu": {"pass": 2 * VALUES},
        "bf16/single/cpu": {"missing": 2 * VALUES},
    }
    gated = place.done("gate", said["run"], code=4)
    assert problem in " ".join(gated.out.split()), "lines are broken anywhere"


def test_nothing_compared_is_code_5(place: Workplace, tmp_path: Path) -> None:
    directory = shutil.copytree(TOY, tmp_path / "chained", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    family = directory / "families" / "toy.py"
    text = family.read_text()
    # Sites that are replayed chained only, asked for isolated.
    text += (
        "\nfrom dataclasses import replace\nfrom paritygate.core.cell import Mode\n"
        "FAMILY = replace(FAMILY, sites=tuple(replace(site, modes=(Mode.CHAINED,)) for site in FAMILY.sites))\n"
    )
    family.write_text(text)
    golden = f"golden-{tmp_path.name}"
    (place.root / golden).mkdir()
    shutil.copy(BUDGETS, place.root / golden)
    chained = Workplace(place.root, directory, golden)
    chained.done("capture", "toy")
    before = place.run_folders()
    said = chained.done("run", "toy", "--mode", "isolated", code=5)
    assert said.err.startswith("the goldens hold nothing to compare: toy")
    assert place.run_folders() == before


def test_a_run_whose_rows_are_all_missing_is_code_5(good: dict[str, Any], place: Workplace) -> None:
    folder = shutil.copytree(good["folder"], place.root / "emptied")
    (folder / "drifts.jsonl").write_text("")
    place.done("judge", str(folder))
    said = place.done("gate", str(folder), "--json", code=5).json
    assert said["summary"]["verdicts"] == {"missing": len(DTYPES) * 2 * VALUES}
