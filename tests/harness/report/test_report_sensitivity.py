"""What dtypes cost, as a page, as text and as Markdown; and the page that is recorded."""

from dataclasses import replace
from pathlib import Path

import pytest

from paritygate.catalog.select import families, policies, suites
from paritygate.cli.sensitivity import read_sensitivity
from paritygate.core.errors import UsageError
from paritygate.core.sensitivity import Aspect, Cost, Mix, Sensitivity
from paritygate.report.parts import Bar, Bars
from paritygate.report.sensitivity import found_mix, render_html, render_markdown, render_text
from paritygate.report.text import render_parts

GOLDEN = Path(__file__).resolve().parents[3] / "golden"
AGAIN = "paritygate dtypes --write"


def cost(kind, name, kl, written=0, **fields) -> Cost:
    return Cost(kind, name, "toy.short", 40, kl, 2 * kl, kl**0.5, 1, 2, 80, written, **fields)


FOUND = Sensitivity(
    "toy",
    ("toy.short",),
    "bf16",
    2e-5,
    "as asked for",
    (Aspect("norm", ("norm",), doc="<inside>"), Aspect("rope", ("rope",))),
    (
        cost("wide", "float32", 1e-14, 4_000_000),
        cost("narrow", "bfloat16", 4e-5, 2_000_000),
        cost("aspect", "norm", 1e-6),
        cost("aspect", "rope", 1e-4),
        cost("raised", "rope", 1.5e-5, 2_500_000),
        cost("policy", "f16", 0.0, problem="3 tokens have logits that are not finite"),
        cost("policy", "bf16", 1.6e-5, 3_000_000),
    ),
    (
        Mix((), 1e-5, 2_000_000, cost("mix", "nothing", 4e-5, 2_000_000)),
        Mix(("rope",), 1.5e-5, 2_400_000, cost("mix", "rope", 1.5e-5, 2_500_000)),
    ),
    {"bf16": "peer in torch bfloat16"},
    {"paritygate": "9.9"},
)


@pytest.fixture(scope="module")
def recorded() -> Sensitivity:
    return read_sensitivity(GOLDEN / "sensitivity.json")


def test_the_page_is_what_was_recorded(recorded) -> None:
    assert (GOLDEN / "DTYPES.md").read_text() == render_markdown(recorded), AGAIN


def test_what_was_recorded_is_of_todays_catalogue(recorded) -> None:
    names = {kind: {c.name for c in recorded.costs if c.kind == kind} for kind in ("policy", "aspect", "layer")}
    assert names["policy"] == set(policies()), AGAIN
    assert recorded.floors == {name: policy.floor_from for name, policy in policies().items()}, AGAIN
    assert recorded.aspects == families()["llama4"].aspects, AGAIN
    assert names["aspect"] == {aspect.name for aspect in recorded.aspects} and len(names["layer"]) == 4
    assert recorded.cases == tuple(case.id for case in suites()[recorded.suite]), AGAIN
    assert not [each for each in recorded.costs if each.problem] and found_mix(recorded) is not None


def test_every_case_is_in_every_recorded_cost(recorded) -> None:
    cases: dict[tuple[str, str], list[str]] = {}
    for each in recorded.costs:
        cases.setdefault((each.kind, each.name), []).append(each.case)
    assert all(found == list(recorded.cases) for found in cases.values())


def test_the_text_says_the_mix_the_policies_and_draws_the_parts() -> None:
    text = render_text(FOUND, width=120)
    assert text.startswith("MIX  In float32: rope. The rest in bfloat16.\n")
    assert "KL 1.5e-05 nats, 1.5e-05 predicted; budget 2e-05 nats: as asked for" in text
    assert "125 % of those of all in bfloat16, 62 % of those of all in float32" in text
    lines = text.splitlines()
    (policy,) = (line for line in lines if line.startswith("bf16 "))
    assert policy.split()[1:4] == ["1.6e-05", "3.2e-05", "0.004"] and policy.endswith("peer in torch bfloat16")
    assert any(line.startswith("f16") and "3 tokens have logits" in line for line in lines)
    bars = [line for line in lines if "█" in line]
    assert [line.split()[0] for line in bars] == ["rope", "norm"], "the dearest first"
    assert 2 * bars[1].count("█") < bars[0].count("█") < 4 * bars[1].count("█"), "three decades, and one"
    assert "ONE LAYER AT A TIME" not in text, "there is none"


def test_no_mix_within_the_budget_is_said() -> None:
    none = replace(FOUND, budget=1e-6)
    assert found_mix(none) is None
    assert render_text(none).startswith("NONE  None of the 2 mixes that were tried keeps the budget.\n")
    assert found_mix(replace(FOUND, mixes=())) is None
    broken = replace(FOUND.mixes[1], measured=cost("mix", "rope", 0.0, problem="nan"))
    assert found_mix(replace(FOUND, mixes=(broken,))) is None


def test_the_page_names_no_other_file_and_escapes() -> None:
    page = render_html(FOUND, "run-1", "20260102")
    assert "http" not in page.replace("http-equiv", "") and "&lt;inside&gt;" in page and "<inside>" not in page
    assert page.count('<rect class="bar"') == 2 and "sensitivity · toy · paritygate" in page
    assert "style=" not in page.replace("default-src", ""), "the policy refuses it"


def test_markdown_has_a_row_for_each_policy() -> None:
    text = render_markdown(FOUND)
    assert "| bf16 | 1.6e-05 | 3.2e-05 | 0.004 | 1 of 40 | 2 of 80 | 3.0 MB | peer in torch bfloat16 |" in text


def test_a_bar_of_nothing_is_a_line() -> None:
    lines = render_parts([Bars("t", (Bar("a", 0.0, "0"), Bar("bb", 1.0, "1")), "c")], width=40)
    assert lines[1:] == ["t", "a   ▏ 0", f"bb  {'█' * 33} 1", "c"]


def test_a_record_that_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="sensitivity cannot be read"):
        read_sensitivity(tmp_path / "sensitivity.json")
