"""What a counterfactual says to a person, and which sites a hypothesis concerns."""

from dataclasses import replace

import pytest

from paritygate.core.hypothesis import Counterfactual, Explanation, Hypothesis

FOUND = Counterfactual(
    "tiny-scout.long",
    "f64/single/cpu",
    "chained",
    "layers.0.attn:inner.q_rope",
    values=71,
    agreed=9,
    tried=57,
    explanations=(Explanation("rope by halves", "rotates halves", 71),),
)


def test_a_whole_explanation_says_how_much_it_explains():
    assert FOUND.whole
    assert FOUND.text == "rope by halves (the candidate rotates halves): 71 of 71 values agree under it, 9 without"


def test_what_is_left_is_said():
    found = replace(FOUND, explanations=(Explanation("rope by halves", "rotates halves", 40),))
    assert not found.whole
    assert found.text.endswith(": 40 of 71 values agree under it, 9 without; the rest is still to be explained")


def test_equivalent_hypotheses_are_all_named():
    found = replace(FOUND, explanations=(*FOUND.explanations, Explanation("other", "does as much", 71)))
    assert found.text.startswith(
        "rope by halves (the candidate rotates halves) or other (the candidate does as much): 71 of 71 "
    )


def test_nothing_found_and_nothing_tried_are_two_things():
    nothing = replace(FOUND, explanations=())
    assert nothing.text == "none of 57 hypotheses makes layers.0.attn:inner.q_rope agree"
    untried = replace(nothing, tried=0, reason="only gradients differ")
    assert untried.text == "no counterfactual: only gradients differ"
    assert not nothing.whole and not untried.whole


@pytest.mark.parametrize(
    ("site", "concerned"), [("layers.0.attn", True), ("norm", True), ("layers.0.moe", False), ("vision.norm", False)]
)
def test_sites_are_patterns(site, concerned):
    assert Hypothesis("any", "does so", ("layers.*.attn", "norm")).concerns(site) is concerned
