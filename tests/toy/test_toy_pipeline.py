"""The whole pipeline on a family that is no transformer, from one spec file, by the command line and its exit codes."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paritygate.core.run import Run

from toy.workplace import TOY, Workplace

BUDGETS = TOY.parents[1] / "golden" / "budgets.toml"
CASE = "toy-2.plain"
DTYPES = ("f64", "f32", "f16", "bf16")
VALUES = 8  # ports of the two-layer preset that are no inputs


def test_golden_is_whole(place: Workplace) -> None:
    assert "1 golden whole" in place.done("golden", "verify").out
    assert place.done("golden", "verify", "--json").json == {"goldens": 1, "findings": []}
    (case,) = place.done("golden", "ls", "toy", "--json").json["toy"]
    assert case == CASE


def test_a_right_port_passes_in_every_dtype_and_mode(good: dict[str, Any]) -> None:
    summary = good["summary"]
    assert good["exit_code"] == 0
    assert summary["verdicts"] == {"pass": len(DTYPES) * 2 * VALUES}
    assert summary["cells"] == {f"{dtype}/single/cpu": {"pass": 2 * VALUES} for dtype in DTYPES}
    assert summary["modes"] == {mode: {"pass": len(DTYPES) * VALUES} for mode in ("isolated", "chained")}
    assert (good["problems"], good["first_divergences"], good["not_covered"]) == ([], [], [])
    assert good["coverage"]["gaps"] == []
    assert good["wall_s"] > 0 and good["peak_memory_bytes"] > 0 and good["compilations"] > 0


def test_run_json_says_what_it_was_judged_by(good: dict[str, Any]) -> None:
    info = json.loads((Path(good["folder"]) / "run.json").read_text())
    assert info["rows"] == good["summary"]["rows"]
    assert (info["budgets"], info["baseline"]) == (hashlib.sha256(BUDGETS.read_bytes()).hexdigest(), "")


def test_a_run_keeps_the_hash_of_every_value_and_where_each_site_is(good: dict[str, Any]) -> None:
    run = Run.open(Path(good["folder"]))
    digests = {drift.key: drift.digest for drift in run.drifts()}
    assert len(digests) == len(DTYPES) * 2 * VALUES and all(map(re.compile("[0-9a-f]{16}").fullmatch, digests.values()))
    same = digests[CASE, "bf16/single/cpu", "isolated", "embed", "out", 0]
    assert same == digests[CASE, "bf16/single/cpu", "chained", "embed", "out", 0]
    assert same != digests[CASE, "f32/single/cpu", "chained", "embed", "out", 0]
    inspection, *_ = run.inspections()
    lines = (TOY / "toy_jax.py").read_text().splitlines()
    for site, name in (("layers.0.norm", "Norm"), ("layers.1", "Block")):
        path, _, number = inspection.sources[site].partition(":")
        assert path == "toy_jax.py" and lines[int(number) - 1].strip().startswith("def __call__")
        assert lines[: int(number)].index(f"class {name}(nnx.Module):") < int(number)


def test_the_report_is_one_page_with_every_site(good: dict[str, Any], place: Workplace) -> None:
    page = Path(good["report"]).read_text()
    for site in ("embed", "layers.0", "layers.1.norm", "head"):
        assert site in page
    assert "http://" not in page and "https://" not in page
    Path(good["report"]).unlink()
    assert place.done("report", good["run"], "--json").json["report"] == good["report"]
    assert Path(good["report"]).is_file()
    text = place.done("report", good["run"], "--text", "verdict")
    assert "PASS" in text.out


def test_show_locate_gate_and_judge_agree(good: dict[str, Any], place: Workplace) -> None:
    name = good["run"]
    assert "PASS" in place.done("show", name).out
    rows = place.done("show", name, "head:out", "--json").json["rows"]
    assert len(rows) == len(DTYPES) * 2
    assert {row["verdict"] for row in rows} == {"pass"}
    assert all({"rel_l2", "kl", "top1"} <= row["drift"]["metrics"].keys() for row in rows), "logits have a role"
    assert place.done("locate", name, "--json").json["first_divergences"] == []
    assert place.done("gate", name, "--json").json["summary"] == good["summary"]
    assert place.done("judge", name, "--json").json["summary"] == good["summary"]
    assert place.done("show", name, "--json").json["run"]["rising"] == ["agreement", "cosine", "sqnr", "top1"]


def test_a_second_run_is_the_first_again(good: dict[str, Any], place: Workplace) -> None:
    again = place.done("run", CASE, "--cells", "f32,f64", "--json").json
    assert again["summary"]["verdicts"] == {"pass": 4 * VALUES}
    compared = place.done("compare", again["run"], good["run"], "--json").json
    assert compared["counts"] == {"new": 4 * VALUES, "bit-identical": 4 * VALUES}, (
        "nothing depends on what runs beside it"
    )
    assert place.call("compare", good["run"], again["run"]).code == 1, "half of the values are gone"


def test_describe_says_again_what_capture_said(place: Workplace) -> None:
    manifest = place.root / "golden" / "toy" / f"{CASE}.json"
    before = manifest.read_bytes()
    said = place.done("golden", "describe", "toy", "--json").json
    assert "layers.1:activate" in said["toy"][CASE]
    assert manifest.read_bytes() == before
    assert place.call("golden", "describe", "toi").code == 2


def test_a_golden_says_how_its_peers_multiplied_and_is_as_good_either_way(place: Workplace) -> None:
    for path in ("native", "upcast"):
        golden = f"golden-{path}"
        (place.root / golden).mkdir()
        shutil.copy(BUDGETS, place.root / golden)
        other = Workplace(place.root, golden=golden)
        said = other.done("capture", "toy", "--low-precision", path, "--json").json["toy"][CASE]
        assert said["low_precision_matmul"] == {"bfloat16": path, "float16": path}
        manifest = json.loads((place.root / golden / "toy" / f"{CASE}.json").read_text())
        assert manifest["provenance"]["low_precision_matmul"] == said["low_precision_matmul"]
        assert other.done("run", "toy", "--cells", "f16,bf16", "--json").json["exit_code"] == 0


def test_a_site_that_is_deleted_is_missing_though_the_golden_knows_no_better(place: Workplace, tmp_path: Path) -> None:
    directory = shutil.copytree(TOY, tmp_path / "less", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    family = directory / "families" / "toy.py"
    family.write_text(
        family.read_text() + "\nfrom dataclasses import replace\n"
        "FAMILY = replace(FAMILY, sites=tuple(s for s in FAMILY.sites if s.name != 'layers.{layer}.norm'))\n"
    )
    golden = f"golden-{tmp_path.name}"
    (place.root / golden).mkdir()
    shutil.copy(BUDGETS, place.root / golden)
    less = Workplace(place.root, directory, golden)
    less.done("capture", "toy")
    said = less.done("run", "toy", "--cells", "f64", "--json", code=1).json
    assert said["summary"]["verdicts"].keys() == {"pass"}
    gaps = {(gap["verdict"], gap["part"], gap["where"]) for gap in said["coverage"]["gaps"]}
    of_layers = [f"layers.{i}.norm" for i in (0, 1)]
    assert gaps == {
        *(("missing", "module", name) for name in of_layers),
        *(("missing", "parameter", f"{name}.weight") for name in of_layers),
    }
    assert "gaps               4 in coverage" in less.done("judge", said["run"]).out
    said = less.done("gate", said["run"], code=1)
    assert said.out.startswith("FAIL  Not everything is covered")
    # Against the golden that has the site, the run does not even start.
    assert "golden is stale" in Workplace(place.root, directory).done("run", "toy", code=3).err


def test_a_fault_is_code_1_and_found_where_it_is(
    good: dict[str, Any], variant: Callable[[str], Workplace], tmp_path: Path
) -> None:
    place = variant("doubled")
    bad = place.done("run", "toy", "--cells", "f64,bf16", "--json", code=1).json
    assert bad["exit_code"] == 1
    assert bad["summary"]["diagnoses"] == {"semantic": 4}, "head:out, in two cells and two modes"
    assert bad["summary"]["verdicts"] == {"pass": 4 * VALUES - 4, "over_budget": 4}
    for command in ("gate", "locate"):
        place.done(command, bad["run"], code=1)
    annotated = place.done("gate", bad["run"], "--output-format", "github", code=1).out
    assert "::error file=" not in annotated, (
        "the candidate lies outside of the repository that the command is called in"
    )
    located = place.done("locate", bad["run"], "--json", code=1).json["first_divergences"]
    assert {(d["row"]["drift"]["site"], d["row"]["drift"]["port"], d["row"]["diagnosis"]) for d in located} == {
        ("head", "out", "semantic")
    }
    assert [d["cell"] for d in located] == ["bf16/single/cpu", "f64/single/cpu"]
    compared = place.done("compare", good["run"], bad["run"], "--json", code=1).json
    assert compared["counts"]["broken"] == 4

    # Accepted with a reason, in a copy of the goldens, it passes; a baseline of a right port then calls it regressed.
    copied = place.root / f"golden-{tmp_path.name}"
    shutil.copytree(place.root / "golden", copied)
    accepting = Workplace(place.root, place.extension, copied.name)
    by = ("--yes", "--by", "Ada")
    assert accepting.call("approve", bad["run"], "--select", "*/head:out", "--reason", " ", *by).code == 2
    approve = ("approve", bad["run"], "--select", "*/head:out", "--reason", "halved later", "--json", *by)
    assert accepting.done(*approve, code=2).err.startswith("4 of 4 rows compute something else: ")
    accepted = accepting.done(*approve, "--semantic")
    assert (len(accepted.json["proposals"]), accepted.json["written"]) == (4, True)
    assert "accepted           4 of the passes" in accepting.done("judge", bad["run"]).out
    said = accepting.done("gate", bad["run"]).out
    assert f"{4 * VALUES - 4} are within budget, 4 over budget and accepted in the baseline." in said
    assert "\nagainst the accepted baseline: 4 bit-identical\n" in said
    assert "\nratchet  pass: none of 4 accepted rows regressed\n" in said
    assert accepting.done("golden", "verify").out.startswith("1 golden whole")
    judged = json.loads((Path(bad["folder"]) / "run.json").read_text())
    (baseline,) = (copied / "baselines").iterdir()
    assert judged["baseline"] == hashlib.sha256(baseline.read_bytes()).hexdigest()
    accepting.done("approve", good["run"], "--select", "*/head:out", "--reason", "right", *by)
    accepting.done("judge", bad["run"])
    regressed = accepting.done("gate", bad["run"], "--json", code=1).json
    assert regressed["summary"]["verdicts"]["regressed"] == 4
    assert regressed["gates"]["ratchet"] == {
        "ok": False, "words": "fail: 4 of 4 accepted rows regressed", "accepted": 4, "regressed": 4, "lost": 0,
    }  # fmt: skip
    assert regressed["compared"]["counts"] == {"broken": 4}
    place.done("judge", bad["run"])  # as it was, with no baseline
    place.done("gate", bad["run"], code=1)


def test_a_candidate_that_is_not_reproducible_says_so(
    good: dict[str, Any], variant: Callable[[str], Workplace]
) -> None:
    assert good["reproducible"] is True and len(good["repeats"]) == len(DTYPES)
    place = variant("shaken")
    run = place.done("run", "toy", "--cells", "f32", "--json").json
    assert run["reproducible"] is False
    assert {name for repeat in run["repeats"] for name in repeat["differing"]} == {
        "isolated head:out",
        "chained head:out",
    }
    said = " ".join(place.done("gate", run["run"]).out.split())
    assert "Not reproducible in f32/single/cpu: 2 of 16 values of toy-2.plain have other bits when" in said
    assert "own noise rel_l2" not in said
    shown = " ".join(place.done("show", run["run"], "head:out").out.split())
    assert "own noise" in shown
    assert "Reproducible: the 64 values" in " ".join(place.done("gate", good["run"]).out.split())


def test_a_fault_is_explained_by_the_hypothesis_that_is_so(variant: Callable[[str], Workplace]) -> None:
    place = variant("doubled")
    count = f"{VALUES} of {VALUES} values agree under it, {VALUES - 1} without"
    text = f"head doubled (the candidate doubles the logits): {count}"
    line = f"{CASE}  head:out  {text}"
    said = place.done("run", "toy", "--cells", "f64", code=1).out
    parting = f"{CASE}  head:out  {_line('doubled = ')} (<lambda>) gives head:out, the first value that parts ("
    assert f"\nExplanation\n{line}\n{parting}" in said
    run = said.rpartition("next    paritygate locate ")[2].strip()
    assert line in place.done("locate", run, code=1).out
    assert text in place.done("show", run, "head:out").out
    assert text in " ".join(place.done("report", run, "--text", "divergence").out.split())
    (found,) = place.done("explain", run, CASE, "--json").json["counterfactuals"]
    assert found["explanations"] == [{"hypothesis": "head doubled", "says": "doubles the logits", "agreed": VALUES}]
    assert (found["agreed"], found["values"], found["tried"]) == (VALUES - 1, VALUES, 1)
    assert not list((place.root / "runs" / run).glob(".explain*")), "the values are not kept"
    assert place.done("explain", run, "toy-2.plane", code=2).err.startswith("no row matches: toy-2.plane\n")

    candidate = place.extension / "toy_jax.py"
    candidate.write_text(candidate.read_text() + "# another\n")
    assert place.done("explain", run, code=2).err.startswith("candidate has changed since the run: toy_jax\n")


def _line(text: str) -> str:
    lines = (TOY / "toy_variants.py").read_text().splitlines()
    return f"toy_variants.py:{next(at for at, line in enumerate(lines, 1) if line.startswith(text))}"


def test_a_drift_of_precision_is_blamed_on_the_line_that_rounds(variant: Callable[[str], Workplace]) -> None:
    place = variant("coarse")
    line = f"{_line('coarse = ')} (<lambda>) rounded to 4 bits of mantissa"
    said = place.done("run", "toy", "--cells", "f64,bf16", "--json", code=1).json
    (blame,) = said["blames"]
    (first, *others), run = blame["lines"], said["run"]
    assert (blame["cell"], blame["address"], blame["parting"]) == ("bf16/single/cpu", "head:out", None)
    assert f"{first['line']} ({first['function']}) {first['what']}" == line
    assert first["share"] > sum(abs(other["share"]) for other in others)
    assert first["raised"] < min(other["raised"] for other in others)
    assert (blame["unequal"], blame["raised_to"]) == (0.0, "float32")
    words = [f"{first['share']:.0%}", first["line"], "<lambda>", "rounded", "to", "4", "bits"]
    for command in (("show", run, "*/bf16*/isolated/head:out"), ("report", run, "--text", "divergence")):
        assert " ".join(words) in " ".join(place.done(*command).out.split())
    assert line in place.done("gate", run, code=1).out

    # Of any value that is asked for, a right one too; in float64 it is where the candidate parts from the reference.
    asked = place.done("explain", run, "layers.0:inner.active", "--json").json["blames"]
    assert {(each["cell"], each["mode"]) for each in asked} == {
        (f"{dtype}/single/cpu", mode) for dtype in ("f64", "bf16") for mode in ("isolated", "chained")
    }
    for each in asked:
        if each["cell"].startswith("bf16"):
            assert each["lines"] and not each["reason"]
        else:
            assert each["reason"].startswith("no value parts from the reference by more than ")
    kept = (Path(said["folder"]) / "blames.jsonl").read_text().splitlines()
    assert [json.loads(each)["address"] for each in kept] == ["head:out", *("layers.0:inner.active",) * 4]
    assert place.done("explain", run, "*", code=2).err.startswith("too many rows at once: *\n")


def test_what_cannot_be_explained_leaves_a_run_as_it_is(variant: Callable[[str], Workplace]) -> None:
    place = variant("doubled")
    family = place.extension / "families" / "toy.py"
    family.write_text(family.read_text().replace("toy_torch:head_doubled", "toy_torch:no_such"))
    said = place.done("run", "toy", "--cells", "f64", code=1).out
    assert (
        "\nExplanation not found: UsageError: hypothesis names code that is not there: hypothesis 'head doubled'"
        in said
    )
    quiet = place.done("run", "toy", "--cells", "f64", "--no-explain", "--json", code=1).json
    assert (quiet["counterfactuals"], quiet["not_explained"]) == ([], "")
    none = place.done("explain", place.done("run", "toy", "--cells", "f32", "--json", code=1).json["run"]).out
    assert none.startswith("no divergence of float64 or of precision to explain\n")


def test_locate_says_where_in_the_value_a_fault_sits(variant: Callable[[str], Workplace]) -> None:
    place = variant("late")
    run = place.done("run", "toy", "--cells", "f64,bf16", "--json", code=1).json["run"]
    said = place.done("locate", run, code=1).out
    assert re.search(r"^    f64 differs by \d\.?\d?e-1 from token 5 on, at odd vocabulary entries", said, re.M)
    assert re.search(r"^    bf16 differs by \S+, \w+ \S+× the noise, from token 5 on, at odd ", said, re.M)
    for found in place.done("locate", run, "--json", code=1).json["first_divergences"]:
        parts = {part["axis"]: part for part in found["row"]["drift"]["where"]}
        assert (parts["T"]["pattern"], parts["T"]["places"]) == ("from", [5])
        assert found["propagated"] == 0, "the head is the last value"
        drawn = found["row"]["drift"]["error_map"]
        assert [axis["letter"] for axis in drawn["down"] + drawn["across"]] == ["B", "T", "V"]
    shown = " ".join(place.done("show", run, "*/f64/*/head:out").out.split())
    assert "evidence" in shown and "at odd vocabulary entries (100% of its square)" in shown
    assert "vocabulary entries 0 to 255 row 0, token 0 ░" in shown  # the map begins with noise
    assert "paritygate run toy-2.plain --suite toy --cells f64/single/cpu --mode " in shown
    reported = " ".join(place.done("report", run, "--text", "divergence").out.split())
    assert "head:out in toy-2.plain: f64 differs by" in reported


def test_an_old_run_is_judged_on_a_budget_of_another_kind_without_a_device(
    good: dict[str, Any], place: Workplace, tmp_path: Path
) -> None:
    """The tail of what was measured then, allowed or not by a rule that is written only now."""
    shutil.copytree(place.root / "golden", tmp_path / "golden")
    shutil.copytree(good["folder"], tmp_path / "runs" / good["run"])
    for module in ("jax", "flax", "torch"):  # whoever imports one of them finds this file first
        (tmp_path / f"{module}.py").write_text("raise ImportError('a device is touched')")
    later, budgets = Workplace(tmp_path), tmp_path / "golden" / "budgets.toml"
    rule = '[[rule]]\nname = "tail"\nmetric = "tail"\ndtype = "bf16"\nbeyond_eps_x = {}\nlimit = {}\nreason = "r"\n\n'
    written = budgets.read_text()

    budgets.write_text(rule.format("64.0", "0.001") + written)
    assert later.done("judge", good["run"], "--json").json["summary"] == good["summary"]
    shown = later.done("show", good["run"], "*/bf16/*/isolated/head:out", "--json").json["rows"][0]
    assert {j["metric"]: j["value"] for j in shown["judgements"]}["tail"] == 0.0

    budgets.write_text(rule.format("0.125", "0.01") + written)
    judged = later.done("judge", good["run"], "--json").json["summary"]
    assert judged["cells"]["f32/single/cpu"] == {"pass": 2 * VALUES}
    assert judged["cells"]["bf16/single/cpu"]["over_budget"] > VALUES
    located = later.done("locate", good["run"], code=1).out
    assert re.search(r"head:out|layers", located) and "(limit 0.01, rule 'tail')" in located
    later.done("gate", good["run"], code=1)

    # What is accepted stays accepted, by its tail too.
    later.done("approve", good["run"], "--select", "*/bf16/*", "--reason", "r", "--yes", "--by", "Ada")
    later.done("judge", good["run"])
    later.done("gate", good["run"])


def test_every_listing_knows_the_toy_and_is_json(place: Workplace) -> None:
    expected = {"families": "toy", "cases": CASE, "sites": "layers.1.norm", "cells": "bf16/single/cpu"}
    for noun, word in expected.items():
        listed = place.done("list", noun, "--json")
        assert word in json.dumps(listed.json)
    assert len(place.done("list", "sites", "toy-2", "--json").json) == 6
