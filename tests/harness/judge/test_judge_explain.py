"""Which hypotheses are named: those under which the first wrong value agrees, and of them the best."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paritygate.catalog.select import families
from paritygate.core.cell import Mode
from paritygate.core.hypothesis import Hypothesis
from paritygate.judge.budgets import read_budgets
from paritygate.judge.explain import Shown, explain
from paritygate.store.golden import GoldenStore

GOLDEN = Path(__file__).parents[3] / "golden"
SITES = ("layers.0.input_norm", "layers.0.attn", "layers.0.post_norm", "layers.1.input_norm")


@pytest.fixture(scope="module")
def golden():
    """A golden's values of some sites, by key, in production order."""
    store = GoldenStore(GOLDEN)
    manifest = store.read("tiny", "tiny-scout.long")
    ports = [p for p in manifest.ports if p.site in SITES and p.port == "out"]
    values = {(p.site, p.port, p.call): np.array(store.tensor(p.tensor)) for p in ports}
    return manifest, values, store.tensor(manifest.inputs["attention_mask"])


def _wrong(values, *sites):
    return {key: value * (2.0 if key[0] in sites else 1.0) for key, value in values.items()}


def _explained(golden, candidate, under, blamed="layers.0.attn", rows=("near", "also near", "far")):
    manifest, values, mask = golden
    budgets = read_budgets(GOLDEN / "budgets.toml")
    shown = Shown(manifest, families()["llama4"], "f64/single/cpu", Mode.CHAINED, budgets, mask, candidate)
    hypotheses = [Hypothesis(name, f"is {name}", ("other" if name == "far" else "layers.*",)) for name in rows]
    port = next(p for p in manifest.ports if p.site == blamed and p.port == "out")
    asked = []
    found = explain(shown, values, port, hypotheses, lambda row: asked.append(row.name) or under[row.name])
    return found, asked


def test_a_hypothesis_that_explains_everything_is_named_alone_and_ends_the_search(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    under = {"near": candidate, "also near": _wrong(values, SITES[1])}
    found, asked = _explained(golden, candidate, under)
    assert [(each.hypothesis, each.says, each.agreed) for each in found.explanations] == [("near", "is near", 4)]
    assert (found.values, found.agreed, found.tried, found.whole) == (4, 1, 2, True)
    assert asked == ["near", "also near"], "what concerns another site is not tried any more"


def test_equally_good_ones_are_all_named(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    found, _ = _explained(golden, candidate, {"near": candidate, "also near": candidate})
    assert [each.hypothesis for each in found.explanations] == ["near", "also near"]


def test_others_are_tried_where_those_of_the_site_leave_something(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    under = {"near": _wrong(values, SITES[1], SITES[2]), "also near": values, "far": candidate}
    found, asked = _explained(golden, candidate, under)
    assert asked == ["near", "also near", "far"]
    assert [each.hypothesis for each in found.explanations] == ["far"]


def test_one_that_explains_the_blamed_value_only_is_named_with_what_it_leaves(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    under = {"near": _wrong(values, SITES[1], SITES[2]), "also near": _wrong(values, SITES[1]), "far": values}
    found, _ = _explained(golden, candidate, under)
    assert [(each.hypothesis, each.agreed) for each in found.explanations] == [("near", 3)]
    assert not found.whole


def test_one_that_explains_later_values_but_not_the_first_is_not_named(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    later = _wrong(values, SITES[2], SITES[3])
    found, _ = _explained(golden, candidate, {"near": later, "also near": later, "far": later})
    assert (found.explanations, found.tried) == ((), 3)
    # Nor one under which the first agrees, but not the value to blame, which comes later.
    first = _wrong(values, SITES[1])
    found, _ = _explained(golden, candidate, dict.fromkeys(("near", "also near", "far"), first), blamed=SITES[2])
    assert found.explanations == ()


def test_one_that_breaks_more_than_it_mends_is_not_named(golden):
    _, values, _ = golden
    candidate = _wrong(values, SITES[1])
    worse = {key: value if key[0] == SITES[1] else value + 1.0 for key, value in candidate.items()}
    found, _ = _explained(golden, candidate, dict.fromkeys(("near", "also near", "far"), worse))
    assert found.explanations == ()


def test_a_value_that_one_side_does_not_show_never_agrees(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    without = {key: value for key, value in candidate.items() if key[0] != SITES[1]}
    found, _ = _explained(golden, candidate, dict.fromkeys(("near", "also near", "far"), without))
    assert found.explanations == ()
    # What the candidate does not show counts on neither side, and the first value that it shows wrongly is to agree.
    found, _ = _explained(golden, without, {"near": candidate, "also near": values})
    assert [(each.hypothesis, each.agreed) for each in found.explanations] == [("near", 3)]
    assert found.values == 3


def test_another_shape_is_a_difference_and_no_error(golden):
    _, values, _ = golden
    candidate = _wrong(values, *SITES[1:])
    key = next(key for key in values if key[0] == SITES[1])
    other = candidate | {key: candidate[key][:, :-1]}
    found, _ = _explained(golden, candidate, dict.fromkeys(("near", "also near", "far"), other))
    assert found.explanations == ()


def test_padding_is_not_compared(golden):
    manifest, values, mask = golden
    padded = replace(manifest)
    candidate = {key: value.copy() for key, value in values.items()}
    for value in candidate.values():
        value[0, 0] += 1.0
    mask = np.array(mask)
    mask[0, 0] = 0
    budgets = read_budgets(GOLDEN / "budgets.toml")
    shown = Shown(padded, families()["llama4"], "f64/single/cpu", Mode.CHAINED, budgets, mask, candidate)
    assert shown.agreeing(values, list(values)) == set(values)
