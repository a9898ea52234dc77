"""The import contracts of pyproject.toml hold, and each of them can break: one planted violation per contract."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in CONFIG["contracts"]}

# contract: (the file that the violation is planted in, the violation)
VIOLATIONS = {
    "candidate-alone": ("impl/jax_llama4/planted.py", "import paritygate.core"),
    "candidate-by-name": ("harness/paritygate/replay/planted.py", "import jax_llama4"),
    "core": ("harness/paritygate/core/planted.py", "import paritygate.catalog"),
    "leaves": ("harness/paritygate/report/planted.py", "from paritygate import judge"),
    "judge": ("harness/paritygate/judge/planted.py", "import paritygate.report"),
    "reference": ("harness/paritygate/reference/planted.py", "import paritygate.replay"),
    "replay": ("harness/paritygate/replay/planted.py", "import paritygate.reference"),
    "audit": ("harness/paritygate/audit/planted.py", "from paritygate import replay"),
    "service": ("harness/paritygate/service/planted.py", "from paritygate import replay"),
    "client": ("harness/paritygate/client/planted.py", "from paritygate import judge"),
    "testing": ("harness/paritygate/cli/planted.py", "from paritygate import testing"),
    # Inside a function, which the check at run time cannot see.
    "only-reference-has-torch": ("harness/paritygate/judge/planted.py", "def f():\n    import torch.nn"),
    "only-replay-has-jax": ("harness/paritygate/cli/planted.py", "def f():\n    from jax import numpy"),
}


def lint_imports(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -P, and the folders of this checkout first: the sources that are read must be those of `checkout`.
    program = (
        f"import sys; sys.path[:0] = {[str(checkout / 'harness'), str(checkout / 'impl')]!r}; "
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", program, "--config", "pyproject.toml", "--no-cache", "--no-logo", *arguments],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def copy_of_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("sources")
    for folder in ("harness", "impl"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_contracts_hold() -> None:
    linted = lint_imports(ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in linted.stdout


def test_every_contract_has_a_planted_violation() -> None:
    assert set(VIOLATIONS) == set(CONTRACTS)
    assert len(CONTRACTS) == len(CONFIG["contracts"]), "two contracts share an id"


def test_every_package_is_under_a_contract_of_its_own() -> None:
    packages = {f"paritygate.{init.parent.name}" for init in (ROOT / "harness/paritygate").glob("*/__init__.py")}
    sources = {module for contract in CONTRACTS.values() for module in contract["source_modules"]}
    assert packages <= sources


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_planted_violation_breaks_the_contract(contract: str, copy_of_sources: Path) -> None:
    where, violation = VIOLATIONS[contract]
    planted = copy_of_sources / where
    planted.write_text(violation + "\n")
    try:
        linted = lint_imports(copy_of_sources, "--contract", contract)
    finally:
        planted.unlink()
    assert linted.returncode == 1, linted.stdout + linted.stderr
    broken = rf"^{re.escape(CONTRACTS[contract]['name'])}.* BROKEN( \(\d+ ignored imports?\))?$"
    assert re.search(broken, linted.stdout, re.MULTILINE), linted.stdout
    assert planted.stem in linted.stdout
