"""`mutate`: which faults and cells are asked for, what is written, and what it ends with. The replay has a stand-in."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paritygate.catalog import select
from paritygate.core.errors import ExitCode
from paritygate.core.fault import Fault, FaultGroup, Patch
from paritygate.core.hypothesis import Counterfactual, Explanation
from paritygate.core.mutant import ExplainedFault
from paritygate.replay import blaming

CASE = "tiny/tiny-scout.long"
PATCHES = (Patch("jax_llama4.norms:f", "a", "b"),)
NORM = FaultGroup(
    "norm",
    "llama4",
    (
        Fault("eps", "semantic", PATCHES, CASE, ("layers.0.input_norm:out",)),
        Fault("gain", "semantic", PATCHES, CASE, ("layers.0.input_norm:out",)),
        Fault("upcast", "precision", PATCHES, CASE, ("layers.0.input_norm:out",), sees="bf16"),
    ),
)
SAME = FaultGroup("same", "llama4", (Fault("reordered", "harmless", PATCHES, CASE, equivalent="another order"),))
CELLS = [f"{dtype}/single/cpu" for dtype in ("f64", "f32", "f16", "bf16")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> dict[str, Any]:
    """Goldens of the repository, the two groups above, and a replay in which only what is in `absent` is missing."""
    import paritygate.replay.mutants

    root = Path(__file__).resolve().parents[3]
    golden = Path(environ["PARITYGATE_GOLDEN"])
    golden.mkdir()
    for name in ("tiny", "objects", "budgets.toml"):
        (golden / name).symlink_to(root / "golden" / name)
    called: dict[str, Any] = {"problems": [], "groups": {"norm": NORM, "same": SAME}}

    def replay_mutants(plantings, store, folder, finished, **options):
        called.update(plantings={p.fault: [str(cell) for cell in p.cells] for p in plantings}, **options)
        for planting in plantings:
            finished(planting.fault, [])
        return called["problems"]

    monkeypatch.setattr(paritygate.replay.mutants, "replay_mutants", replay_mutants)
    monkeypatch.setattr(select, "fault_groups", lambda: called["groups"])
    return called


def test_a_fault_that_only_another_policy_sees_is_planted_in_that_one_too(paritygate: Callable, asked: dict[str, Any]):
    stream = Fault("stream", "precision", PATCHES, CASE, ("layers.0:out",), sees="mixed")
    asked["groups"] = {"stream": FaultGroup("stream", "llama4", (stream,))}
    paritygate("mutate")
    assert asked["plantings"] == {"stream": [*CELLS, "mixed/single/cpu"]}
    paritygate("mutate", "--spread")
    assert asked["plantings"] == {"stream": [CELLS[0], "mixed/single/cpu"]}
    paritygate("mutate", "--cells", "f64,bf16")
    assert asked["plantings"] == {"stream": [CELLS[0], CELLS[-1]]}, "what is asked for is what is done"


def test_a_fault_that_only_a_mesh_shows_is_planted_there_and_in_float64_on_one_device(
    paritygate: Callable, asked: dict[str, Any]
):
    psum = Fault("psum", "sharding", PATCHES, CASE, ("layers.0:out",), mesh="tp2")
    low = Fault("low", "precision", PATCHES, CASE, ("layers.0:out",), sees="bf16", mesh="tp2")
    asked["groups"] = {"sharding": FaultGroup("sharding", "llama4", (psum, low))}
    paritygate("mutate")
    assert asked["plantings"]["psum"] == [CELLS[0], *(cell.replace("single", "tp2") for cell in CELLS)]
    paritygate("mutate", "--spread")
    assert asked["plantings"] == {
        "psum": [CELLS[0], "f64/tp2/cpu"],
        "low": [CELLS[0], "f64/tp2/cpu", "bf16/tp2/cpu"],
    }
    asked["plantings"] = {}
    assert paritygate("mutate", "low", "--explain").code == ExitCode.PASS
    assert asked["plantings"] == {}, "a program on several devices is not taken apart line by line"


def test_all_faults_in_all_cells_or_those_of_a_glob(paritygate: Callable, asked: dict[str, Any]) -> None:
    paritygate("mutate")
    assert asked["plantings"] == dict.fromkeys(("eps", "gain", "upcast", "reordered"), CELLS)
    paritygate("mutate", "same", "e*", "prec*", "--cells", "f64")
    assert asked["plantings"] == dict.fromkeys(("eps", "upcast", "reordered"), CELLS[:1])


def test_a_spread_is_one_of_each_group_and_of_each_kind_in_the_cells_that_tell(
    paritygate: Callable, asked: dict[str, Any]
) -> None:
    paritygate("mutate", "--spread")
    assert asked["plantings"] == {"eps": CELLS[:1], "upcast": [CELLS[0], CELLS[3]], "reordered": CELLS[:1]}


def test_what_is_missed_is_printed_and_code_1(paritygate: Callable, asked: dict[str, Any]) -> None:
    # Nothing was measured, so nothing was compared, and nothing is caught.
    said = paritygate("mutate")
    assert said.code == ExitCode.DRIFT
    assert "Missed\n  eps (f64/single/cpu)\n  gain (f64/single/cpu)\n  upcast (bf16/single/cpu)\n" in said.out
    assert "0 of 3 faults caught" in said.out and said.out.endswith("next    paritygate mutate --write\n")
    found = json.loads(paritygate("mutate", "--json").out)
    assert (found["ok"], found["kill_rate"], len(found["mutants"])) == (False, 0, 16)
    assert paritygate("mutate", "same").code == ExitCode.PASS


def test_what_is_written_replaces_the_faults_that_were_planted(
    paritygate: Callable, asked: dict[str, Any], environ: dict[str, str]
) -> None:
    lines = Path(environ["PARITYGATE_GOLDEN"]) / "mutations.jsonl"

    def recorded() -> list[str]:
        return list(dict.fromkeys(json.loads(line)["fault"] for line in lines.read_text().splitlines()))

    assert "written " in paritygate("mutate", "same", "--write").out
    assert recorded() == ["reordered"]
    paritygate("mutate", "norm", "--write")
    assert recorded() == ["eps", "gain", "upcast", "reordered"], "in the catalog's order"
    asked["groups"] = {"norm": NORM}
    paritygate("mutate", "eps", "--write")
    assert recorded() == ["eps", "gain", "upcast"], "without what the catalog does not have any more"
    assert "## norm\n" in (lines.parent / "MUTATIONS.md").read_text()

    before = lines.read_text()
    paritygate("mutate", "eps", "--cells", "f64,bf16", "--write")
    assert lines.read_text() == before, "cells that were not asked for stay, in their order"

    lines.write_text("{}\n")
    assert "missing key: mutations.jsonl:1" in paritygate("mutate", "eps", "--write").err


def test_a_worker_that_fails_is_code_4_and_nothing_is_written(
    paritygate: Callable, asked: dict[str, Any], environ: dict[str, str]
) -> None:
    asked["problems"] = ["worker for f64/single/cpu was killed by signal 9"]
    said = paritygate("mutate", "--write")
    assert said.code == ExitCode.INFRASTRUCTURE
    assert "faults were not all replayed: " in said.err and "killed by signal 9" in said.err
    assert not (Path(environ["PARITYGATE_GOLDEN"]) / "mutations.jsonl").exists()


def test_what_is_to_be_explained_is_each_fault_in_f64_and_code_1_where_not_as_named(
    paritygate: Callable, asked: dict[str, Any]
) -> None:
    # Nothing was measured, so nothing differs, and nothing explains it.
    said = paritygate("mutate", "semantic", "--explain")
    assert asked["plantings"] == {"eps": CELLS[:1], "gain": CELLS[:1]}
    assert said.code == ExitCode.PASS
    assert said.out.startswith("eps  no semantic divergence in float64\n")
    assert "2 faults, 0 explained wholly; 0 name a hypothesis, 0 rightly\n" in said.out

    named = replace(NORM, faults=(replace(NORM.faults[0], hypothesis="norm eps ÷ 10"), *NORM.faults[1:]))
    asked["groups"] = {"norm": named}
    said = paritygate("mutate", "semantic", "--explain")
    assert said.code == ExitCode.DRIFT
    assert said.out.startswith("eps  no semantic divergence in float64; the catalog names 'norm eps ÷ 10'\n")
    assert json.loads(paritygate("mutate", "semantic", "--explain", "--json").out)["ok"] is False

    asked["problems"] = ["worker for f64/single/cpu was killed by signal 9"]
    assert paritygate("mutate", "semantic", "--explain").code == ExitCode.INFRASTRUCTURE


def test_a_fault_of_precision_is_planted_in_float64_and_in_the_first_cell_that_sees_it(
    paritygate: Callable, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def blame_all(rows, plantings, store, folder, **options):
        assert (rows, plantings) == ((), []), "nothing was measured, so no row differs by precision"
        return blaming.Blamed((), {}, {}, ())

    monkeypatch.setattr(blaming, "blame_all", blame_all)
    said = paritygate("mutate", "upcast", "--explain")
    assert asked["plantings"] == {"upcast": [CELLS[0], CELLS[3]]}
    assert said.code == ExitCode.DRIFT
    assert "no row differs by precision" in said.out
    assert "1 faults of precision: the planted line is ranked first of 0, gives most of 0\n" in said.out


def test_an_explanation_is_right_where_the_named_hypothesis_explains_everything() -> None:
    best = (Explanation("a", "is a", 5), Explanation("b", "is b", 5))
    whole = Counterfactual("c", CELLS[0], "chained", "x:out", 5, 1, 2, best)
    assert [ExplainedFault("f", name, whole).is_right for name in ("", "a", "b", "d")] == [True, True, True, False]
    assert not ExplainedFault("f", "a", replace(whole, values=6)).is_right
    assert not ExplainedFault("f", "a", None).is_right


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--explain", "--write"], "explanations are not written: --explain"),
        (["rope*"], "unknown fault, group or kind: rope*"),
        (["--cells", "bf16"], "no diagnosis without float64: --cells"),
    ],
)
def test_what_makes_no_sense_is_refused(
    paritygate: Callable, asked: dict[str, Any], arguments: list[str], said: str
) -> None:
    refused = paritygate("mutate", *arguments)
    assert refused.code == ExitCode.USAGE
    assert refused.err.startswith(said)


def test_a_fault_has_one_name_and_a_case_that_there_is(
    paritygate: Callable, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked["groups"] = {"odd": FaultGroup("odd", "llama4", (Fault("f", "harmless", PATCHES, "tiny/tiny-scout.lang"),))}
    said = paritygate("mutate")
    assert said.code == ExitCode.USAGE
    assert "unknown case: tiny/tiny-scout.lang" in said.err and "did you mean tiny/tiny-scout.long" in said.err

    monkeypatch.undo()
    monkeypatch.setattr(select, "discover", lambda *_: {"norm": NORM, "twin": FaultGroup("twin", "t", NORM.faults[:1])})
    said = paritygate("list", "faults")
    assert said.code == ExitCode.USAGE
    assert said.err == "two faults of one name: eps\n  got       norm, twin\n"
