"""`golden compare`: does the reference, captured again, compute what its goldens say?"""

import json
import shutil
from pathlib import Path

import pytest

from toy.workplace import TOY, Workplace

BUDGETS = TOY.parents[1] / "golden" / "budgets.toml"


def captured(root: Path, extension: Path) -> Path:
    """The toy captured into a folder of its own."""
    (root / "golden").mkdir(parents=True)
    shutil.copy(BUDGETS, root / "golden")
    Workplace(root, extension).done("capture", "toy")
    return root / "golden"


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goldens of a reference whose norm has another epsilon."""
    root = tmp_path_factory.mktemp("another")
    directory = shutil.copytree(TOY, root / "toy", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    module = directory / "toy_torch.py"
    text = module.read_text()
    assert text.count("1e-5") == 1
    module.write_text(text.replace("1e-5", "2e-5"))
    return captured(root / "new", directory)


def test_the_same_reference_gives_the_same_bits(place: Workplace, tmp_path: Path) -> None:
    again = captured(tmp_path / "again", TOY)
    said = place.done("golden", "compare", "--against", str(again), "--json").json
    assert (said["ok"], said["versions"], said["absent"]) == (True, {}, [])
    (case,) = said["cases"]["toy"]
    assert case["identical"] == case["values"] > 0 and case["moved"] == [] and case["differences"] == []
    text = place.done("golden", "compare", "toy", "--against", str(again)).out
    assert text.splitlines()[-2].endswith("bit-identical: the reference computes what its goldens say")

    manifest = next((again / "toy").glob("*.json"))
    data = json.loads(manifest.read_text())
    assert data["provenance"]["versions"]["torch"]
    manifest.unlink()
    assert place.done("golden", "compare", "--against", str(again), code=5).err.startswith(
        "no golden is in both folders"
    )


def test_a_reference_that_computes_something_else_is_found_at_its_site(place: Workplace, another: Path) -> None:
    said = place.done("golden", "compare", "toy", "--against", str(another), "--json", code=1).json
    (case,) = said["cases"]["toy"]
    moved = {row["drift"]["site"] for row in case["moved"]}
    assert "layers.0.norm" in moved and "embed" not in moved
    assert 0 < case["identical"] < case["values"]
    text = place.done("golden", "compare", "toy", "--against", str(another), code=1).out
    assert "first toy-2.plain f64/single/cpu  layers.0.norm:out  chained  semantic  rel_l2" in text
    assert "\nSites that moved\n" in text and "\nnext    what changed in the reference?" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare",), "nothing to compare with: golden compare\n"),
        (("compare", "--against", "nowhere"), "no such folder of goldens: --against nowhere\n"),
        (("verify", "--against", "x"), "only compare is with another folder: golden verify --against x\n"),
    ],
)
def test_what_it_refuses(place: Workplace, arguments: tuple[str, ...], said: str) -> None:
    assert place.done("golden", *arguments, code=2).err.startswith(said)
