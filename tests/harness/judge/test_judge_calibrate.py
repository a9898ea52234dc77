"""Limits from the draws of harmless variants, the text that they are kept in, and how near a run came to them."""

import pytest
from judge_rows import BUDGETS, row

from paritygate.core.budget import BaselineRule, Budget, Budgets, Draw, Fitted
from paritygate.core.errors import UsageError
from paritygate.judge.budgets import read_budgets
from paritygate.judge.calibrate import FEWEST, calibrated, factor_of
from paritygate.judge.fitted import FIRST, LAST, with_fitted
from paritygate.judge.usage import usage

FALLBACK = Budget("rest", "rel_l2", "r", factor=2.0, minimum_eps_x=0.5)
BY_HAND = Budget("loss", "rel_l2", "r", factor=2.0, minimum_eps_x=4.0, site="loss")
KINDS = {"norm": ("*norm",), "loss": ("loss",)}
DESIGN = Budgets((BY_HAND,), BaselineRule(1.25, "r"), KINDS, None, (FALLBACK,))


def drawn(ratio, call, site="a.norm", variant="halves", values=4096, mode="chained", floor=0.5):
    """A draw whose ρ is the ratio of exact powers of two."""
    return Draw(0, "a.b", variant, "bf16", mode, site, "out", call, values, "rel_l2", ratio * floor, floor, 2.0**-8)


def test_each_kind_and_mode_gets_a_limit_from_the_farthest_variant_of_each_value():
    draws = [drawn(1.0, n) for n in range(FEWEST)]
    draws += [drawn(1.25, 3, variant="in turn"), drawn(0.5, 3, variant="wide")]
    draws += [drawn(1.0, n, mode="isolated") for n in range(FEWEST)]
    chained, isolated = calibrated(draws, DESIGN)
    assert (chained.name, chained.rows, chained.largest) == ("norm-bf16-chained-rel_l2", FEWEST, 1.25)
    assert (chained.factor, chained.minimum_eps_x) == (factor_of(FEWEST, 1.25), 0.5)
    assert (isolated.name, isolated.largest) == ("norm-bf16-isolated-rel_l2", 1.0)


def test_a_floor_below_the_minimum_is_not_what_a_variant_is_measured_by():
    (rule,) = calibrated([drawn(1.0, n, floor=2.0**-12) for n in range(FEWEST)], DESIGN)
    assert rule.largest == 0.125  # the minimum is half a roundoff


def test_rules_by_hand_sites_of_no_kind_and_few_values_are_not_fitted():
    assert calibrated([drawn(1.0, n, site="loss") for n in range(FEWEST)], DESIGN) == []
    assert calibrated([drawn(1.0, n, site="head") for n in range(FEWEST)], DESIGN) == []
    assert calibrated([drawn(1.0, n) for n in range(FEWEST - 1)], DESIGN) == []


def test_small_tensors_get_a_wider_limit_on_evidence_only():
    large = [drawn(1.25, n) for n in range(FEWEST)]
    wide, all_ = calibrated(large + [drawn(1.5, n, values=100) for n in range(FEWEST)], DESIGN)
    assert (wide.values_below, wide.largest, wide.name) == (128, 1.5, "norm-bf16-chained-rel_l2-below-128")
    assert (all_.values_below, all_.largest, all_.rows) == (0, 1.25, FEWEST)
    for few in (
        [drawn(1.0, FEWEST + n, values=100) for n in range(FEWEST)],
        [drawn(1.5, FEWEST + n, values=100) for n in range(FEWEST - 1)],
    ):
        (one,) = calibrated(large + few, DESIGN)
        assert (one.values_below, one.rows) == (0, FEWEST + len(few))


TEXT = f"""# by hand
[baseline]
factor = 1.5
reason = "r"
[kinds]
norm = ["*norm"]
[[rule]]
name = "one"
metric = "max_abs"
factor = 2
reason = "because"
{FIRST}
what was there
{LAST}
# and more
[[fallback]]
name = "rest"
metric = "rel_l2"
factor = 2
reason = "because"
"""


def test_what_is_written_is_read_again_and_the_rest_of_the_file_stays(tmp_path):
    rules = tuple(calibrated([drawn(1.25, n, values=100) for n in range(FEWEST)], DESIGN))
    fitted = Fitted(rules, 'measured, "so"', ("tiny",), ("halves", "in turn"), 3)
    written = with_fitted(TEXT, fitted)
    assert written.partition(FIRST)[0] == TEXT.partition(FIRST)[0]
    assert written.partition(LAST)[2] == TEXT.partition(LAST)[2]
    assert with_fitted(written, fitted) == written
    path = tmp_path / "budgets.toml"
    path.write_text(written)
    found = read_budgets(path).fitted
    assert (found.reason, found.variants, found.seeds) == ('measured, "so"', ("halves", "in turn"), 3)
    assert [(r.name, r.factor, r.largest) for r in found.rules] == [(r.name, r.factor, r.largest) for r in rules]


@pytest.mark.parametrize("text", [TEXT.replace(LAST, ""), TEXT.replace(FIRST, LAST), TEXT + FIRST])
def test_a_file_without_the_marks_is_refused(text):
    with pytest.raises(UsageError, match=r"^no place for fitted budgets: budgets.toml"):
        with_fitted(text, Fitted((), "r", (), (), 1))


def test_rules_that_nothing_came_near_are_known():
    near, far = row("a:out", share=0.75), row("b:out", share=0.25)
    used = {use.rule: use for use in usage([far, near], BUDGETS)}
    assert (used["low"].rows, used["low"].share, used["low"].nearest) == (2, 0.75, near)
    assert (used["choice"].rows, used["choice"].share, used["choice"].nearest) == (0, 0.0, None)
