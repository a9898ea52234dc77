"""Every hypothesis of every family changes what the reference computes, at a site that it says it concerns."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paritygate.catalog.select import families
from paritygate.core.cell import Mode
from paritygate.core.errors import UsageError
from paritygate.core.golden import Golden
from paritygate.core.hypothesis import Hypothesis
from paritygate.judge.budgets import read_budgets
from paritygate.judge.explain import Shown, explain
from paritygate.reference.counterfactual import Counterfactuals
from paritygate.store.golden import GoldenStore

GOLDEN = Path(__file__).parents[3] / "golden"
# Cases that together show every row of a family: a row is looked for in the later ones only while none has shown it.
CASES = {
    "llama4": (
        "tiny/tiny-scout.long",
        "tiny/tiny-scout.leftpad",
        "tiny/tiny-maverick.padded",
        "tiny/tiny-scout.far",
        "text/tiny-scout.decode",
    ),
    "llama4-classifier": ("classify/classify-scout.padded", "classify/classify-scout.leftpad"),
    "llama4-multimodal": ("vision/tiny-multimodal.mixed", "vision/tiny-vision.frames", "vision/tiny-multimodal.decode"),
}
# The text model of the small family with pictures has three layers, one expert a token, this rope base, no scaling.
NEVER_NEEDED = {
    "llama4": set(),
    "llama4-classifier": {row.name for row in families()["llama4"].hypotheses},
    "llama4-multimodal": {
        row.name
        for row in families()["llama4"].hypotheses
        if row.needs in ({"rope_parameters.rope_type": "llama3"}, {"num_experts_per_tok": 2}, {"num_hidden_layers": 4})
    }
    | {"rope theta 500,000"},
}
STORE = GoldenStore(GOLDEN)


def _counterfactuals(suite: str, case: str) -> tuple[Golden, Counterfactuals]:
    golden = STORE.read(suite, case)
    family = families()[golden.case.family]
    inputs, weights = (
        {name: STORE.tensor(ref) for name, ref in refs.items()} for refs in (golden.inputs, golden.weights)
    )
    preset, prompt = family.preset(golden.case.preset), family.prompt(golden.case.prompt)
    return golden, Counterfactuals(family, preset, prompt, inputs, weights)


def _shown(golden: Golden, values: dict) -> Shown:
    budgets, mask = read_budgets(GOLDEN / "budgets.toml"), STORE.tensor(golden.inputs["attention_mask"])
    family = families()[golden.case.family]
    return Shown(golden, family, "f64/single/cpu", Mode.CHAINED, budgets, mask, values)


def _values(golden: Golden) -> dict:
    return {
        (port.site, port.port, port.call): STORE.tensor(port.tensor)
        for port in golden.ports
        if Mode.CHAINED in port.modes
    }


@pytest.fixture(scope="module")
def scout() -> tuple[Golden, Counterfactuals]:
    return _counterfactuals("tiny", "tiny-scout.long")


@pytest.mark.parametrize("family", CASES)
def test_every_row_changes_the_values_of_a_site_that_it_concerns(family):
    rows = {row.name: row for row in families()[family].hypotheses}
    unseen = dict.fromkeys(name for name in rows if name not in NEVER_NEEDED[family])
    for case in CASES[family]:
        golden, changed = _counterfactuals(*case.split("/"))
        values = _values(golden)
        shown = _shown(golden, values)
        for row in changed.hypotheses():
            if row.name not in unseen:
                continue
            found = changed.values(row, Mode.CHAINED, "")
            # What is the golden to the last bit agrees; a row is seen with the first value of its sites that does not.
            other = [key for key in shown.ports if key not in found or not np.array_equal(found[key], values[key])]
            if any(not shown.agreeing(found, [key]) for key in other if row.concerns(key[0])):
                del unseen[row.name]
                continue
            differing = {site for site, _, _ in set(other) - shown.agreeing(found, other)}
            assert not differing, f"{row.name} changes {differing}"
    assert list(unseen) == []


@pytest.mark.parametrize("family", CASES)
def test_no_two_rows_have_one_name(family):
    names = Counter(row.name for row in families()[family].hypotheses)
    assert [name for name, count in names.items() if count > 1] == []


def test_the_golden_itself_is_explained_by_nothing(scout):
    golden, changed = scout
    values = _values(golden)
    shown = _shown(golden, values)
    found = explain(shown, values, next(iter(shown.ports.values())), changed.hypotheses(), lambda row: values)
    assert found.explanations == () and found.agreed == found.values == len(values)
    assert found.reason == "every value that was kept agrees with the golden"


def test_the_unchanged_reference_is_the_golden(scout):
    golden, changed = scout
    shown = _shown(golden, _values(golden))
    found = changed.values(Hypothesis("none", "", ("*",)), Mode.CHAINED, "")
    assert shown.agreeing(found, list(shown.ports)) == set(shown.ports)
    alone = changed.values(Hypothesis("none", "", ("*",)), Mode.ISOLATED, "layers.0.attn")
    assert {site for site, _, _ in alone} == {"layers.0.attn"} and len(alone) == 6
    assert shown.agreeing(alone, list(alone)) == set(alone)


def test_a_site_alone_gets_the_inputs_of_the_golden(scout):
    """The second norm differs by its own fault only: what the first one hands on is the golden's."""
    golden, changed = scout
    shown = _shown(golden, _values(golden))
    (row,) = [row for row in changed.hypotheses() if row.name == "norm gain missing"]
    alone = changed.values(row, Mode.ISOLATED, "layers.1.attn")
    assert shown.agreeing(alone, list(alone)) == set(alone)
    alone = changed.values(row, Mode.ISOLATED, "layers.1.post_norm")
    assert shown.agreeing(alone, list(alone)) == set()


def test_a_row_that_does_not_apply_is_left_out(scout):
    _, changed = scout
    names = {row.name for row in changed.hypotheses()}
    assert "rope by halves" in names
    assert not {"rope scaling missing", "one expert fewer"} & names, "what they need this preset does not have"
    _, vision = _counterfactuals("vision", "tiny-vision.tiles")
    assert not {"softmax for sigmoid", "one expert more"} & {row.name for row in vision.hypotheses()}, "no such site"


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"config": {"rope_parameters.rope_tetha": 1.0}}, "rope_parameters.rope_tetha"),
        ({"scaled": {"rms_norm_epsilon": 10.0}}, "rms_norm_epsilon"),
        ({"weights": {"*.no_such": "zero"}}, "*.no_such"),
        ({"weights": {"*norm.weight": "halve"}}, "halve"),
        ({"exchanged": (("*", ".no_such.", ".other."),)}, ".no_such."),
        ({"copied": {"lm_head.weight": "no_such"}}, "no_such"),
        ({"inputs": {"positions": 1}}, "positions"),
        ({"functions": {"torch.nn:NoSuch.forward": "torch:clone"}}, "torch.nn:NoSuch.forward"),
        ({"functions": {"torch.nn:SiLU.forward": "paritygate.reference.hooks:no_such"}}, "hooks:no_such"),
        ({"config": {"num_attention_heads": 5}}, "RuntimeError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_that_names_nothing_is_refused_by_its_name(scout, change, got):
    _, changed = scout
    with pytest.raises(UsageError) as refused:
        changed.values(replace(Hypothesis("my row", "", ("*",)), **change), Mode.CHAINED, "")
    assert "my row" in str(refused.value) and got in str(refused.value)
