"""Verbs that compose stages: run, replay, golden, capture, list, doctor. Slow stages have stand-ins."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.catalog.select import select_cases
from paritygate.cli.verb import Settings
from paritygate.core.cell import Mode
from paritygate.core.errors import ReplayInterrupted, Terminated
from paritygate.replay.platforms import Presence

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def budgets(tmp_path: Path) -> None:
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "budgets.toml").write_text((ROOT / "golden" / "budgets.toml").read_text())


@pytest.fixture
def stages(synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budgets: None) -> dict[str, Any]:
    """Stand-ins for replay and judge; what replay was called with. `shows` and `problems` choose the outcome."""
    import paritygate.cli.stages
    import paritygate.replay.launch

    called: dict[str, Any] = {"shows": "none", "problems": (), "stopped": None, "hurry": False}

    def replay(suite, cases, cells, modes, store, runs, command, **options):
        called.update(suite=suite, cases=cases, cells=cells, modes=modes, runs=runs, command=command, **options)
        run = synthetic.write_run(tmp_path / "runs" / "made", called["shows"], "no", problems=called["problems"])
        if called["stopped"]:
            raise ReplayInterrupted(run.folder, called["stopped"])
        return run

    def judge(settings: Settings, run):
        if called["hurry"]:
            raise KeyboardInterrupt
        rows = synthetic.rows(called["shows"], layers=2)
        return run.save_rows(rows), rows

    monkeypatch.setattr(paritygate.replay.launch, "replay", replay)
    monkeypatch.setattr(paritygate.cli.stages, "judge_run", judge)
    return called


def test_run_replays_judges_reports_and_gates(paritygate: Callable, stages: dict[str, Any], tmp_path: Path) -> None:
    said = paritygate("run", "tiny")
    assert said.code == 0
    assert (tmp_path / "runs" / "made" / "rows.jsonl").is_file()
    assert (tmp_path / "runs" / "made" / "report.html").is_file()
    assert said.out.startswith("PASS  ")
    for words in ("43.5 s wall time", "1.20 GiB peak memory", "96 compilations", "made/report.html"):
        assert words in said.out.replace("\n", " ")
    assert (stages["suite"], stages["cases"]) == ("tiny", select_cases("tiny"))
    assert [str(cell) for cell in stages["cells"]] == [f"{d}/single/cpu" for d in ("f64", "f32", "f16", "bf16")]
    assert stages["modes"] == list(Mode)
    assert stages["command"] == ("paritygate", "run", "tiny")
    assert stages["compile_cache"] == tmp_path / ".cache" / "paritygate" / "xla"
    assert (stages["workers"], stages["timeout_s"]) == (None, 1800.0)


def test_run_takes_options(paritygate: Callable, stages: dict[str, Any]) -> None:
    options = "--cells f64 --mode chained --workers 1 --timeout 9 --no-compile-cache"
    assert paritygate("run", "tiny-scout.long", *options.split()).code == 0
    assert [case.id for case in stages["cases"]] == ["tiny-scout.long"]
    assert [str(cell) for cell in stages["cells"]] == ["f64/single/cpu"]
    assert stages["modes"] == [Mode.CHAINED]
    assert (stages["workers"], stages["timeout_s"], stages["compile_cache"]) == (1, 9.0, None)


def test_run_fails_with_the_gates_code(paritygate: Callable, stages: dict[str, Any]) -> None:
    stages["shows"] = "semantic"
    said = paritygate("run")
    assert said.code == 1
    assert "layers.1.attn:inner.q_rope" in said.out
    assert said.out.splitlines()[-1] == "next    paritygate locate made"


def test_run_with_a_dead_worker_is_infrastructure(paritygate: Callable, stages: dict[str, Any]) -> None:
    stages["problems"] = ("worker 2 was killed by signal 9",)
    said = paritygate("run")
    assert said.code == 4
    assert said.out.startswith("INCOMPLETE  ")
    assert "worker 2 was killed by signal 9" in said.out
    assert said.out.splitlines()[-1] == "next    paritygate doctor, then paritygate run --resume made"


def test_ctrl_c_keeps_and_judges_what_is_there(paritygate: Callable, stages: dict[str, Any], tmp_path: Path) -> None:
    stages.update(stopped=KeyboardInterrupt(), problems=("the run was interrupted",))
    said = paritygate("run")
    assert (said.code, said.err) == (130, "interrupted\n  try       paritygate run --resume made\n")
    assert said.out.startswith("INCOMPLETE  ") and "the run was interrupted" in said.out
    assert said.out.splitlines()[-1] == "next    paritygate run --resume made"
    assert (tmp_path / "runs" / "made" / "rows.jsonl").is_file()
    assert (tmp_path / "runs" / "made" / "report.html").is_file()
    shutil.rmtree(tmp_path / "runs")
    assert paritygate("run", "--quiet").out.splitlines() == [said.out.splitlines()[0]]
    shutil.rmtree(tmp_path / "runs")
    assert json.loads(paritygate("run", "--json").out)["exit_code"] == 130


@pytest.mark.parametrize(
    ("stopped", "hurry", "code", "word"),
    [(KeyboardInterrupt(), True, 130, "interrupted"), (Terminated(), False, 143, "terminated")],
    ids=("pressed again", "SIGTERM"),
)
def test_who_is_in_a_hurry_gets_no_judgement(
    paritygate: Callable, stages: dict[str, Any], tmp_path: Path, stopped: BaseException, hurry: bool, code: int,
    word: str,
) -> None:  # fmt: skip
    stages.update(stopped=stopped, hurry=hurry)
    said = paritygate("run")
    assert (said.code, said.out) == (code, "")
    assert said.err == f"{word}\n  try       paritygate run --resume made\n"
    assert not (tmp_path / "runs" / "made" / "rows.jsonl").exists()


def test_run_of_nothing_but_skipped_cells_says_why(paritygate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paritygate.replay.processes.probe", lambda name, _: Presence(name, reason="no driver"))
    asked = ("run", "classify-scout.padded", "--cells", "f32,bf16 x single x gpu", "--mode", "chained")
    said = paritygate(*asked, PARITYGATE_GOLDEN=str(ROOT / "golden"))
    assert said.code == 5
    assert said.out.startswith("NOTHING  ")
    assert "Skipped in f32/single/gpu, bf16/single/gpu: no gpu: no driver." in said.out
    assert said.out.splitlines()[-1] == "next    paritygate doctor"


def test_run_as_json_prints_one_value(paritygate: Callable, stages: dict[str, Any]) -> None:
    value = json.loads(paritygate("run", "--json").out)
    assert (value["exit_code"], value["run"], value["compilations"]) == (0, "made", 96)


def test_a_mistake_in_the_budgets_is_found_before_the_replay(
    paritygate: Callable, stages: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "golden" / "budgets.toml").write_text("nonsense")
    said = paritygate("run")
    assert said.code == 2
    assert said.err.startswith("budgets cannot be read: ")
    assert "suite" not in stages


def test_replay_judges_nothing(paritygate: Callable, stages: dict[str, Any], tmp_path: Path) -> None:
    said = paritygate("replay")
    assert said.code == 0
    assert not (tmp_path / "runs" / "made" / "rows.jsonl").exists()
    assert said.out.splitlines()[-1] == "next    paritygate judge made"


def test_unknown_names_are_refused_before_anything_runs(paritygate: Callable, stages: dict[str, Any]) -> None:
    said = paritygate("run", "tinny")
    assert said.code == 2
    assert said.err.startswith("unknown suite, preset or case: tinny\n")
    assert "did you mean tiny" in said.err
    assert paritygate("run", "--cells", "f63").code == 2
    assert paritygate("capture", "tinny").code == 2
    said = paritygate("capture", "tiny", "--low-precision", "fast")
    assert (said.code, said.err) == (2, "unknown low precision: fast\n  expected  auto or native or upcast\n")


def captured(tmp_path: Path, *suites: str) -> None:
    """Folders that look as if the suites had goldens."""
    for suite in suites:
        (tmp_path / "golden" / suite).mkdir(parents=True, exist_ok=True)
        (tmp_path / "golden" / suite / "tiny-scout.long.json").write_text("{}")


@pytest.mark.parametrize(
    ("suites", "arguments", "expected"),
    [
        (["tiny"], ["tiny-*"], ("tiny", ["tiny-maverick", "tiny-scout"])),
        (["depth"], ["tiny-*"], ("depth", ["tiny-scout-12"])),
        (["tiny", "depth"], ["tiny-maverick.*"], ("tiny", ["tiny-maverick"])),
        (["tiny", "depth"], ["tiny-*", "--suite", "tiny"], ("tiny", ["tiny-maverick", "tiny-scout"])),
        (["tiny", "depth"], ["--suite", "depth"], ("depth", ["tiny-scout-12"])),
        (["tiny"], ["tiny-maverick"], ("tiny", ["tiny-maverick"])),
        (["tiny", "vision"], ["tiny-vision"], ("vision", ["tiny-vision"])),
        (["tiny"], ["tiny-scout-12.*"], ("depth", ["tiny-scout-12"])),  # which then says that it has no golden
        ([], ["tiny-scout.l*"], ("tiny", ["tiny-scout"])),
        (["tiny"], [], ("tiny", ["tiny-maverick", "tiny-scout"])),
    ],
    ids=str,
)
def test_a_glob_is_looked_up_where_goldens_are(
    paritygate: Callable,
    stages: dict[str, Any],
    tmp_path: Path,
    suites: list[str],
    arguments: list[str],
    expected: tuple[str, list[str]],
) -> None:
    captured(tmp_path, *suites)
    for verb in ("replay", "run"):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        assert paritygate(verb, *arguments).code == 0
        assert (stages["suite"], sorted({case.preset for case in stages["cases"]})) == expected


def test_a_glob_over_several_suites_says_which(paritygate: Callable, stages: dict[str, Any], tmp_path: Path) -> None:
    captured(tmp_path, "depth", "tiny")
    said = paritygate("run", "tiny-scout*.long")
    assert (said.code, said.err.splitlines()) == (
        2,
        [
            "cases of several suites: tiny-scout*.long",
            "  got       tiny: tiny-scout.long",
            "            depth: tiny-scout-12.long",
            "  try       one of them: --suite tiny",
        ],
    )
    assert paritygate("run", "--suite", "tinny").err.startswith("unknown suite: tinny\n")
    assert paritygate("run", "tiny", "--suite", "depth").code == 2
    assert "suite" not in stages


def test_a_place_where_nobody_may_write_is_named(paritygate: Callable, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    environ = {"PARITYGATE_GOLDEN": str(ROOT / "golden")}
    said = paritygate("replay", "tiny-scout.long", "--cells", "f64", **environ)
    assert said.code == 4
    assert said.err.startswith(f"file cannot be read or written: {tmp_path / 'runs'}/")
    assert "\n  got       Not a directory\n  try       " in said.err


def test_a_full_disk_is_said_of_the_folder_of_runs(
    paritygate: Callable, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from paritygate.replay import launch

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launch, "replay", full)
    said = paritygate("replay")
    assert said.code == 4
    assert said.err.startswith(f"file cannot be read or written: {tmp_path / 'runs'}\n  got       No space left")


def test_run_without_goldens_is_code_3(paritygate: Callable, budgets: None) -> None:
    said = paritygate("run", "tiny-scout.long")
    assert said.code == 3
    assert "tiny/tiny-scout.long" in said.err


def test_golden_verify_names_what_is_wrong(paritygate: Callable, budgets: None, tmp_path: Path) -> None:
    said = paritygate("golden", "verify")
    assert (said.code, said.out.splitlines()[-1]) == (3, "next    paritygate capture tiny")
    (tmp_path / "golden" / "tiny").mkdir()
    (tmp_path / "golden" / "tiny" / "a.b.json").write_text("{}")
    said = paritygate("golden", "verify", "tiny")
    assert said.code == 3
    assert said.out.startswith("tiny/a.b: golden of another format")
    assert json.loads(paritygate("golden", "verify", "--json").out)["findings"][0]["object"] == "tiny/a.b"
    assert paritygate("golden", "ls", "tinny").code == 2


def test_golden_verify_asks_for_every_case_of_a_suite(paritygate: Callable, budgets: None, tmp_path: Path) -> None:
    (tmp_path / "golden" / "tiny").mkdir()
    for manifest in (ROOT / "golden" / "tiny").glob("tiny-scout.l*.json"):
        shutil.copy(manifest, tmp_path / "golden" / "tiny")
    findings = json.loads(paritygate("golden", "verify", "--json").out)["findings"]
    missing = {f["object"] for f in findings if f["problem"].startswith("no golden of this case of the suite")}
    assert missing == {f"tiny/{case.id}" for case in select_cases("tiny")} - {
        "tiny/tiny-scout.long",
        "tiny/tiny-scout.leftpad",
    }
    assert "tiny/tiny-maverick.far: no golden of this case" in paritygate("golden", "verify", "tiny").out


def test_golden_verify_finds_what_is_stale(
    paritygate: Callable, budgets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paritygate.catalog import select

    shutil.copytree(ROOT / "golden" / "tiny", tmp_path / "golden" / "tiny")
    monkeypatch.setattr(select, "spec_hash", lambda case, family: "0" * 64)
    said = paritygate("golden", "verify", "tiny")
    assert said.code == 3
    for case in select_cases("tiny"):
        assert (
            f"tiny/{case.id}: golden is stale: its spec is not what the catalog says today; paritygate cap" in said.out
        )


def test_golden_gc_takes_no_suite(paritygate: Callable, budgets: None) -> None:
    said = paritygate("golden", "gc", "tiny")
    assert (said.code, said.out) == (2, "")
    assert said.err == "gc takes no suite, for suites share objects: tiny\n  try       paritygate golden gc\n"


@pytest.mark.parametrize(
    ("noun", "words"),
    [
        ("families", "llama4"),
        ("cases", "tiny-scout.long"),
        ("sites", "layers.0.attn"),
        ("branches", "use_qk_norm"),
        ("cells", "bf16/single/cpu"),
        ("metrics", "rel_l2"),
    ],
)
def test_list(paritygate: Callable, noun: str, words: str) -> None:
    said = paritygate("list", noun)
    assert said.code == 0
    assert words in said.out
    assert said.out.splitlines()[-1].startswith("next    paritygate ")
    assert words in json.dumps(json.loads(paritygate("list", noun, "--json").out))


def test_list_branches_says_who_takes_each(paritygate: Callable) -> None:
    found = json.loads(paritygate("list", "branches", "tiny-maverick", "--json").out)
    taken = {(branch["key"], branch["value"]): branch["presets"] for branch in found}
    assert taken["use_qk_norm", False] == ["tiny-maverick"]
    assert taken["use_qk_norm", True] == taken["attention_bias", True] == []
    assert "llama4  attention_bias = True" in paritygate("list", "branches").out
    assert paritygate("list", "branches", "tiny-mavrick").code == 2


def test_list_within_a_preset(paritygate: Callable) -> None:
    assert "tiny-scout" not in paritygate("list", "cases", "tiny-maverick").out
    assert paritygate("list", "faults", "tiny-scout").code == 2, "a fault is of a family"
    said = paritygate("list", "sites", "tiny-mavrick")
    assert said.code == 2
    assert "did you mean tiny-maverick" in said.err


def test_doctor_looks_at_everything(paritygate: Callable, budgets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from paritygate.cli.verbs import doctor

    monkeypatch.setattr(doctor, "WORKER", "print('cpu:test')")
    here = {"gpu": Presence("gpu", 8, "NVIDIA Test"), "tpu": Presence("tpu", reason="libtpu is not installed")}
    monkeypatch.setattr("paritygate.replay.platforms.probe", here.get)
    said = paritygate("doctor")
    assert said.code == 3  # no goldens here
    assert "ok   worker        cpu:test" in said.out
    assert "BAD  goldens       no goldens: " in said.out
    assert "next    mend goldens, then paritygate doctor" in said.out
    assert "ok   gpu           8 devices, NVIDIA Test" in said.out
    assert "ok   tpu           no tpu: libtpu is not installed" in said.out
    assert "ok   emulation     no accelerator here: " in said.out
    monkeypatch.setattr(doctor, "WORKER", "raise SystemExit('no such device')")
    checks = {check["name"]: check for check in json.loads(paritygate("doctor", "--json").out)["checks"]}
    assert checks["worker"]["state"].startswith("worker does not start\n  got       no such device")
    assert checks["worker"]["exit_code"] == 4


def test_doctor_holds_what_is_emulated_against_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    from paritygate.cli.verbs import doctor
    from paritygate.core.errors import InfrastructureError

    agrees = {"text": "tf32 on H100 agrees: 0.1", "agrees": True, "refused": ""}
    refused = {"text": "f16-accumulate: H100 has none: no", "agrees": False, "refused": "no"}
    differs = {"text": "bf16x1 on H100 DIFFERS: 9", "agrees": False, "refused": ""}

    def with_device(*found: dict[str, object]) -> None:
        monkeypatch.setattr(doctor, "_child", lambda *_: f"a line of the driver\n{json.dumps(found)}")

    with_device(agrees, refused)
    assert doctor._emulation() == "tf32 on H100 agrees: 0.1; f16-accumulate: H100 has none: no"
    with_device(agrees, differs)
    with pytest.raises(InfrastructureError, match="an emulated arithmetic is not this accelerator's") as raised:
        doctor._emulation()
    assert "bf16x1 on H100 DIFFERS: 9" in raised.value.got
