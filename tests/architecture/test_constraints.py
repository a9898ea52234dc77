"""The releases in constraints/ answer pyproject.toml: each requirement pinned once, in its bounds, no source named."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = [
    requirement
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, lines)
    if requirement.name != PROJECT["name"]  # an extra that takes in another one
]
FILES = sorted((ROOT / "constraints").glob("py*.txt"))


def read_pins(file: Path) -> dict[str, str]:
    """Release by canonical name; anything but `name==release` (a URL, a path, an editable line, a range) is refused."""
    pins: dict[str, str] = {}
    for line in file.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, equals, release = line.partition("==")
        assert equals and not set(release) & set(" ;@/+*<>"), f"{file.name}: not an exact public release: {line}"
        assert canonicalize_name(name) not in pins, f"{file.name}: {name} is pinned twice"
        pins[canonicalize_name(name)] = release
    return pins


def test_there_is_a_file_for_the_oldest_python() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert ROOT / "constraints" / "py311.txt" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_requirement_is_pinned_inside_its_bounds(file: Path) -> None:
    pins = read_pins(file)
    wrong = {str(r): pins.get(canonicalize_name(r.name)) for r in REQUIRED}
    wrong = {line: pin for line, pin in wrong.items() if pin is None or not Requirement(line).specifier.contains(pin)}
    assert wrong == {}


@pytest.mark.parametrize(
    "line", ["-e .", "torch==2.13.0+cpu", "numpy @ file:///wheels/numpy.whl", "jax>=0.10", "jax==0.10.*"]
)
def test_a_line_that_is_no_exact_release_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text(f"{line}\n")
    with pytest.raises(AssertionError, match="not an exact public release"):
        read_pins(tmp_path / "pins.txt")
