"""The hypothesis that a fault of the catalog names is a row of its family, and is found where the fault is planted."""

import json
from pathlib import Path

import pytest

from paritygate.catalog.select import case_of, families, fault_groups
from paritygate.cli.main import main
from paritygate.core.errors import ExitCode

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
# One of a group, shown by two cases in all.
PLANTED = (
    "kv-heads-tiled",
    "mask-without-the-diagonal",
    "rope-theta-fixed",
    "rms-norm-eps",
    "score-left-out",
    "labels-not-shifted",
    "mapping-norms-exchanged",
    "class-token-first",
    "features-added-to-the-token",
)


def test_every_named_hypothesis_is_a_row():
    known = families()
    named = [
        (fault.name, fault.hypothesis, {row.name for row in known[case_of(fault)[1].family].hypotheses})
        for group in fault_groups().values()
        for fault in group.faults
        if fault.hypothesis
    ]
    assert len(named) > 100
    assert [(fault, name) for fault, name, rows in named if name not in rows] == []


def test_the_named_hypothesis_is_found_first(tmp_path, compiled_here, capfd):
    named = {fault.name: fault.hypothesis for group in fault_groups().values() for fault in group.faults}
    environ = {
        "PARITYGATE_GOLDEN": str(GOLDEN),
        "PARITYGATE_RUNS": str(tmp_path / "runs"),
        "XDG_CACHE_HOME": str(compiled_here),
    }
    code = main(("mutate", *PLANTED, "--explain", "--workers", "1", "--json"), environ)
    found = json.loads(capfd.readouterr().out)["faults"]
    first = {each["fault"]: each["counterfactual"]["explanations"][0]["hypothesis"] for each in found}
    assert first == {name: named[name] for name in PLANTED}
    assert code == ExitCode.PASS
    assert list((tmp_path / "runs").iterdir()) == [], "what was kept to explain is gone"
