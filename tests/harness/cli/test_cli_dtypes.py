"""`dtypes`: what is run, what is said, what is written, and what it ends with. The replay has a stand-in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paritygate.core.errors import ExitCode
from paritygate.core.sensitivity import Cost

KL = {"wide": 1e-14, "narrow": 1e-4, "aspect": 1e-6, "raised": 5e-5, "layer": 1e-7, "policy": 4e-6, "mix": 4e-6}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> dict[str, Any]:
    """Goldens of the repository, and a replay in which everything costs what its kind does."""
    import paritygate.replay.vary

    root = Path(__file__).resolve().parents[3]
    golden = Path(environ["PARITYGATE_GOLDEN"])
    golden.mkdir()
    for name in ("tiny", "objects", "budgets.toml"):
        (golden / name).symlink_to(root / "golden" / name)
    called: dict[str, Any] = {"variations": [], "kl": dict(KL)}

    def replay_variations(variations, suite, cases, store, folder, **options):
        called["variations"].append([(each.kind, each.name) for each in variations])
        called.update(cases=[case.id for case in cases], options=options)
        folder.mkdir(parents=True)
        found = [
            Cost(each.kind, each.name, case.id, 10, called["kl"][each.kind], written_bytes=100)
            for each in variations
            for case in cases
        ]
        return found

    monkeypatch.setattr(paritygate.replay.vary, "replay_variations", replay_variations)
    return called


def test_all_of_tiny_is_run_and_the_mix_is_measured(paritygate: Callable, ran: dict[str, Any], tmp_path: Path) -> None:
    said = paritygate("dtypes", "--workers", "1")
    assert said.code == ExitCode.PASS, said.err
    assert len(ran["cases"]) == 8 and ran["options"]["workers"] == 1
    parts, *mixes = ran["variations"]
    assert ("policy", "bf16-wide") in parts and ("aspect", "norm") in parts and ("layer", "layers.3") in parts
    assert [kind for ((kind, _),) in mixes] == ["mix"]
    assert said.out.startswith("MIX  In float32: ") and "budget 5e-06 nats: 1.25 × the KL of bf16" in said.out
    assert said.out.endswith("next    paritygate dtypes --write\n")
    (page,) = (tmp_path / "runs").glob("*-dtypes-*/sensitivity.html")
    assert page.with_suffix(".json").is_file() and str(page) in said.out.replace("\n", "")


def test_a_budget_that_no_mix_keeps_ends_with_1(paritygate: Callable, ran: dict[str, Any]) -> None:
    ran["kl"]["mix"] = 1.0
    said = paritygate("dtypes", "tiny-scout.long", "--suite", "tiny", "--budget", "3e-6", "--json")
    assert said.code == ExitCode.DRIFT
    found = json.loads(said.out)
    assert found["ok"] is False and found.get("mix") is None
    assert found["sensitivity"]["budget"] == 3e-6 and found["sensitivity"]["budget_from"] == "as asked for"


def test_what_is_written_is_the_whole_suite(paritygate: Callable, ran: dict[str, Any], environ: dict[str, str]) -> None:
    golden = Path(environ["PARITYGATE_GOLDEN"])
    bad = paritygate("dtypes", "tiny-scout.long", "--suite", "tiny", "--write")
    assert bad.code == ExitCode.USAGE and bad.err.startswith("part of a suite is not recorded: tiny\n")
    assert not (golden / "DTYPES.md").exists()
    said = paritygate("dtypes", "--write")
    assert said.code == ExitCode.PASS and (golden / "DTYPES.md").read_text().startswith("# What dtypes cost\n")
    assert (golden / "sensitivity.json").is_file()
    assert said.out.splitlines()[-1].startswith("written ")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--low", "f32"), ExitCode.USAGE, "no narrow dtype: --low f32\n  expected  bf16 or f16\n"),
        (("tinny",), ExitCode.USAGE, "unknown suite, preset or case: tinny\n"),
    ],
)
def test_what_cannot_be_run(
    paritygate: Callable, ran: dict[str, Any], arguments: tuple[str, ...], code: int, text: str
) -> None:
    said = paritygate("dtypes", *arguments)
    assert said.code == code and said.err.startswith(text)
    assert ran["variations"] == []


def test_f16_is_the_other_narrow_dtype(paritygate: Callable, ran: dict[str, Any]) -> None:
    said = paritygate("dtypes", "--low", "f16")
    assert ("narrow", "float16") in ran["variations"][0]
    assert "The rest in float16." in said.out and "1.25 × the KL of f16" in said.out
