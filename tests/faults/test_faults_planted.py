"""A spread of the catalogue is planted: each fault is caught and put down to its site, no harmless variant fails."""

import json
from pathlib import Path

import pytest

from paritygate.cli.main import main
from paritygate.core.errors import ExitCode

pytestmark = pytest.mark.usefixtures("compiled_quickly")

ROOT = Path(__file__).resolve().parents[2]


def test_a_spread_of_the_faults_is_caught(tmp_path, compiled_here, capfd) -> None:
    environ = {
        "PARITYGATE_GOLDEN": str(ROOT / "golden"),
        "PARITYGATE_RUNS": str(tmp_path),
        "XDG_CACHE_HOME": str(compiled_here),
    }
    code = main(["mutate", "--spread", "--workers", "1", "--json"], environ)
    said = json.loads(capfd.readouterr().out)
    wrong = [
        (mutant["fault"], mutant["cell"], mutant["caught"], mutant["blamed"], mutant["diagnosis"])
        for mutant in said["mutants"]
        if mutant["caught"] != (mutant["blamed_right"] and mutant["diagnosis_right"])
        or (mutant["expected"] and not mutant["caught"])
    ]
    assert wrong == []
    assert code == ExitCode.PASS and said["kill_rate"] == said["blame_rate"] == 1
