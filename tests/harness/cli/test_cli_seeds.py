"""What a seed is replayed on where capture finds no prompt for a case. Capture and replay have stand-ins."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paritygate.catalog.select import select_cases, select_cells, suites
from paritygate.cli.main import read_settings
from paritygate.cli.seeding import Seeding
from paritygate.core.errors import UnclearRoutingError
from paritygate.core.progress import Progress

CASES = select_cases("classify")


@pytest.fixture
def replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> Callable[..., Any]:
    """replayed(*unclear) → the ids of the cases that seed 7 is replayed on where capture refuses those."""
    import paritygate.reference.capture
    import paritygate.replay.launch

    def run(*unclear: str) -> list[str]:
        def capture(cases, suite, store, say, known, policies, progress):
            (case,) = cases
            say(f"{case.id}: captured")
            if case.id in unclear:
                raise UnclearRoutingError("no prompt seed gives clear routing", where=case.id)

        def replay(suite, cases, *others, **options):
            return [case.id for case in cases]

        monkeypatch.setattr(paritygate.reference.capture, "capture", capture)
        monkeypatch.setattr(paritygate.replay.launch, "replay", replay)
        seeding = Seeding(read_settings(environ, ()), CASES, select_cells("f64"), tmp_path / "keep", None, 9.0, None)
        return seeding.replay(7, Progress())

    return run


def test_a_case_without_a_clear_prompt_is_left_out_and_said(replayed: Callable[..., Any], tmp_path: Path) -> None:
    left_out = CASES[1].id
    assert replayed(left_out) == [case.id for case in CASES if case.id != left_out]
    said = json.loads((tmp_path / "keep" / "seed-7" / "unclear.json").read_text())
    assert list(said) == [left_out] and "no prompt seed gives clear routing" in said[left_out]
    assert replayed() == [case.id for case in suites()["classify"]]
    assert json.loads((tmp_path / "keep" / "seed-7" / "unclear.json").read_text()) == {}


def test_a_seed_of_which_no_case_is_left_is_an_error(replayed: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UnclearRoutingError):
        replayed(*(case.id for case in CASES))
    assert not (tmp_path / "keep" / "seed-7" / "unclear.json").exists()
