"""What a session asks for, read off the catalog, and the goldens that it needs: without a session of pytest."""

import shutil
from pathlib import Path

import pytest

from paritygate.cli.main import read_settings
from paritygate.cli.verb import Settings
from paritygate.core.errors import ExitCode, GoldenError, HarnessError, UsageError
from paritygate.testing.asked import Asked, parity_cases
from paritygate.testing.ending import Ending
from paritygate.testing.session import ParitySession

ROOT = Path(__file__).resolve().parents[3]


def settings(golden: Path = ROOT / "golden") -> Settings:
    return read_settings({"PARITYGATE_GOLDEN": str(golden), "PARITYGATE_RUNS": "none"}, ())


def asked(suite: str = "", cases: str = "", cells: str = "", mode: str = "all") -> Asked:
    return Asked(cases, suite, cells, mode, 60.0)


def test_cases_come_cell_by_cell_and_those_in_float64_first() -> None:
    found = parity_cases(settings(), asked("tiny", cells="bf16,f64"))
    assert [str(case) for case in found[:2]] == [
        "tiny-scout.long/f64/single/cpu/isolated",
        "tiny-scout.long/f64/single/cpu/chained",
    ]
    assert [str(case.cell) for case in found] == ["f64/single/cpu"] * 16 + ["bf16/single/cpu"] * 16


def test_a_suite_brings_its_own_cells_and_modes() -> None:
    found = parity_cases(settings(), asked("text"))
    modes = {case.case.id: [] for case in found}
    for case in found:
        if case.cell.dtype == "f64":
            modes[case.case.id].append(str(case.mode))
    assert ["chained"] in modes.values(), "in pieces there is no isolated replay"
    assert any("gradient" in each for each in modes.values())
    some = parity_cases(settings(), asked("text", mode="gradient"))
    assert {str(case.mode) for case in some} == {"gradient"}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (asked("tini"), "unknown suite: tini"),
        (asked("tiny", cells="f63"), "unknown dtype policy: f63"),
        (asked("tiny", cells="f64 x single x v5p:2x2x1"), "nothing runs on devices that are not here"),
        (asked("tiny", mode="sideways"), "unknown mode: sideways"),
        (asked("tiny", mode="gradient"), "no case has that mode: gradient"),
        (asked("full"), "the suite full is compiled and never replayed\n  try       paritygate run full"),
        (asked(), "no parity case is asked for\n  expected  --parity-suite or --parity-cases, or parity_suite or"),
    ],
)
def test_what_cannot_be_asked_for(what: Asked, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        parity_cases(settings(), what)
    assert str(raised.value).startswith(words)


def session(golden: Path) -> ParitySession:
    found = ParitySession(settings(golden), asked(cases="classify-scout.padded", cells="f64"), ("now", "ab"), "main")
    found.select(found.cases)
    return found


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """The golden of one small case, whole."""
    manifest = ROOT / "golden" / "classify" / "classify-scout.padded.json"
    (tmp_path / "classify").mkdir()
    shutil.copy(manifest, tmp_path / "classify")
    shutil.copy(ROOT / "golden" / "budgets.toml", tmp_path)
    (tmp_path / "objects").symlink_to(ROOT / "golden" / "objects")
    return tmp_path


def test_a_whole_golden_will_do(golden: Path) -> None:
    found = session(golden)
    for case in found.selected:
        found.require_golden(case)


def refused(found: ParitySession) -> HarnessError:
    with pytest.raises(GoldenError) as raised:
        found.require_golden(found.selected[0])
    return raised.value


def test_goldens_that_are_missing_corrupt_or_stale_are_refused(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("paritygate.replay.launch.spec_hash", lambda case, family: "0" * 64)
        assert "golden is stale: its spec is not what the catalog says today" in str(refused(session(golden)))
    (golden / "objects").unlink()
    (golden / "objects").mkdir()
    assert "golden objects are missing or corrupt: classify" in str(refused(session(golden)))
    (golden / "classify" / "classify-scout.padded.json").unlink()
    assert "missing or corrupt: classify" in str(refused(session(golden)))


@pytest.mark.parametrize(
    ("gate", "marked", "code"),
    [
        (ExitCode.PASS, False, 0),
        (ExitCode.DRIFT, False, 1),
        (ExitCode.DRIFT, True, 0),
        (ExitCode.INFRASTRUCTURE, True, 1),
        (ExitCode.GOLDEN, False, 1),
        (ExitCode.NOTHING_COMPARED, False, 5),
    ],
)
def test_a_session_in_which_no_test_failed_ends_as_the_gate_says(gate: ExitCode, marked: bool, code: int) -> None:
    assert Ending(gate, expected_to_fail=marked).code == code
