"""Reading budgets.toml, and what the committed one says."""

import math
from pathlib import Path

import pytest

from paritygate.core.errors import UsageError
from paritygate.judge.budgets import read_budgets
from paritygate.judge.calibrate import FEWEST, LEAST, factor_of

COMMITTED = Path(__file__).parents[3] / "golden" / "budgets.toml"
A_POWER = "beyond_eps_x must be a power of two from 2^-10 to 2^63"
BASELINE = '[baseline]\nfactor = 1.5\nreason = "r"\n'
RULE = '[[rule]]\nname = "one"\nmetric = "rel_l2"\nfactor = 2\nminimum_eps_x = 0.5\nreason = "because"\n'


def read(tmp_path: Path, text: str):
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    return read_budgets(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    return [line.strip() for line in caught.value.got.splitlines()]


def test_a_rule_is_read_as_written(tmp_path):
    budgets = read(tmp_path, BASELINE + RULE)
    (rule,) = budgets.rules
    assert (rule.name, rule.metric, rule.factor, rule.minimum_eps_x) == ("one", "rel_l2", 2.0, 0.5)
    assert (rule.limit, rule.reason, rule.dtype, rule.site) == (None, "because", "*", "*")
    assert isinstance(rule.factor, float)
    assert (budgets.baseline.factor, budgets.baseline.reason) == (1.5, "r")


def test_no_file(tmp_path):
    with pytest.raises(
        UsageError,
        match=r"^no budgets: .*nowhere.toml\n  expected  a TOML file of \[\[rule\]\] tables\n  try       cp gold",
    ):
        read_budgets(tmp_path / "nowhere.toml")


def test_no_toml(tmp_path):
    with pytest.raises(UsageError, match=r"^budgets cannot be read: .*\n  got       .*line 1"):
        read(tmp_path, "what is this")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("factor = 2", "factr = 2"), "rule 1 'one': unknown key 'factr', did you mean 'factor'?"),
        (('reason = "because"', ""), "rule 1 'one': reason is missing"),
        (('reason = "because"', 'reason = " "'), "rule 1 'one': reason must be a text that says something, got ' '"),
        (('name = "one"', ""), "rule 1: name is missing"),
        (("rel_l2", "rel_l3"), "rule 1 'one': unknown metric 'rel_l3', did you mean 'rel_l2'?"),
        (("factor = 2", "factor = -2"), "rule 1 'one': factor must be a number from 0 up, got -2"),
        (("factor = 2", "factor = nan"), "rule 1 'one': factor must be a number from 0 up, got nan"),
        (("factor = 2", 'factor = "2"'), "rule 1 'one': factor must be a number from 0 up, got '2'"),
        (("factor = 2", ""), "rule 1 'one': needs a factor above 0, or a limit"),
        (("factor = 2", "limit = 1e-3"), "rule 1 'one': minimum_eps_x has no meaning next to limit"),
        (
            ("factor = 2", 'factor = 2\nmode = "alone"'),
            "rule 1 'one': mode 'alone' matches none of isolated, chained, gradient",
        ),
        (
            ("factor = 2", "factor = 2\nbeyond_eps_x = 4"),
            "rule 1 'one': beyond_eps_x has a meaning for metric 'tail' only",
        ),
        (('"rel_l2"\nfactor = 2\nminimum_eps_x = 0.5', '"tail"\nlimit = 0.1'), f"rule 1 'one': {A_POWER}, got 0"),
        (
            ('"rel_l2"\nfactor = 2\nminimum_eps_x = 0.5', '"tail"\nlimit = 0.1\nbeyond_eps_x = 3'),
            f"rule 1 'one': {A_POWER}, got 3",
        ),
        (
            ('"rel_l2"\nfactor = 2\nminimum_eps_x = 0.5', '"tail"\nfactor = 2\nbeyond_eps_x = 4'),
            "rule 1 'one': needs a limit below 1, the fraction of elements that may lie beyond",
        ),
        (("factor = 2", 'factor = 2\nplatforms = "gpu"'), "rule 1 'one': platforms must be a list of texts, got 'gpu'"),
        (("factor = 2", "factor = 2\nplatforms = []"), "rule 1 'one': platforms must be a list of texts, got []"),
        (
            ("factor = 2", 'factor = 2\nplatforms = ["gpu", "cuda"]'),
            "rule 1 'one': platforms 'cuda' are none of cpu, gpu, tpu",
        ),
        (("factor = 1.5", "factor = 0.5"), "[baseline]: factor 0.5 is below 1"),
        ((BASELINE, ""), "file: table [baseline] is missing"),
        ((RULE, ""), "file: there is no [[rule]] table"),
        (("[[rule]]", "[rule]"), "file: there is no [[rule]] table"),
        (("[[rule]]", "[[rules]]"), "file: unknown key 'rules', did you mean 'rule'?"),
        ((RULE, RULE + RULE), "rule 'one': there are two of this name"),
        (
            (RULE, RULE + RULE.replace("one", "two").replace("factor", 'dtype = "f32"\nfactor')),
            "rule 'two': never decides, rule 'one' above fits whatever it fits",
        ),
    ],
)
def test_each_problem_is_said(tmp_path, change, problem):
    assert problem in problems(tmp_path, (BASELINE + RULE).replace(*change))


ON_GPU = RULE.replace("one", "two").replace("factor", 'platforms = ["gpu", "tpu"]\nfactor')


def test_rules_of_a_platform_decide_before_those_of_any(tmp_path):
    """So that one may stand beside what it is an exception to, and is not shadowed by it."""
    budgets = read(tmp_path, BASELINE + RULE + ON_GPU)
    assert [rule.name for rule in budgets.ordered] == ["two", "one"]
    assert budgets.ordered[0].platforms == ("gpu", "tpu")
    key = ("rel_l2", "bf16", "isolated", "a", "out", "case")
    assert [budgets.ordered[0].fits(*key, platform=name) for name in ("cpu", "gpu", "tpu", "")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert budgets.ordered[1].fits(*key, platform="gpu")


def test_a_rule_of_fewer_platforms_behind_one_of_more_never_decides(tmp_path):
    later = RULE.replace("one", "three").replace("factor", 'platforms = ["gpu"]\nfactor')
    found = problems(tmp_path, BASELINE + ON_GPU + later)
    assert found == ["rule 'three': never decides, rule 'two' above fits whatever it fits"]
    assert len(read(tmp_path, BASELINE + later + ON_GPU).rules) == 2


def test_all_problems_are_said_at_once(tmp_path):
    found = problems(tmp_path, RULE.replace("factor", "factr") + RULE.replace("rel_l2", "nothing") + "[more]\n")
    assert found == [
        "file: unknown key 'more', known are baseline, kinds, rule, fitted, fallback",
        "file: table [baseline] is missing",
        "rule 1 'one': unknown key 'factr', did you mean 'factor'?",
        "rule 2 'one': unknown metric 'nothing', "
        "known are agreement, cosine, kl, max_abs, max_ulp, rel_l2, sqnr, tail, top1",
    ]


def test_a_limit_below_a_factor_still_decides_for_the_oracle(tmp_path):
    fixed = '[[rule]]\nname = "two"\nmetric = "rel_l2"\nlimit = 1e-12\nreason = "r"\n'
    assert [rule.name for rule in read(tmp_path, BASELINE + RULE + fixed).rules] == ["one", "two"]


KINDS = '[kinds]\nnorm = ["*norm", "*norm.[0-9]"]\nrest = ["*"]\n'
FITTED = """
[fitted]
reason = "measured"
suites = ["tiny"]
variants = ["halves"]
seeds = 2
rules = [{ kind = "norm", dtype = "bf16", mode = "chained", metric = "rel_l2", values_below = 128, \
factor = FACTOR, minimum_eps_x = 0.5, rows = 1000, largest = 1.25 }]
"""
FACTOR = factor_of(1000, 1.25)
FALLBACK = RULE.replace("[[rule]]", "[[fallback]]").replace("one", "rest")
WHOLE = BASELINE + KINDS + RULE.replace("rel_l2", "max_abs") + FITTED.replace("FACTOR", str(FACTOR)) + FALLBACK


def test_rules_by_hand_decide_before_fitted_ones_and_those_before_the_fallback(tmp_path):
    budgets = read(tmp_path, WHOLE)
    assert [rule.name for rule in budgets.ordered] == ["one", "norm-bf16-chained-rel_l2-below-128", "rest"]
    assert [budgets.kind(site) for site in ("layers.1.norm", "norm.2", "head")] == ["norm", "norm", "rest"]
    assert (budgets.fitted.reason, budgets.fitted.suites, budgets.fitted.seeds) == ("measured", ("tiny",), 2)
    rule = budgets.fitted.rules[0]
    assert rule.reason == "The farthest of 1000 values of harmless variants: 1.25× the noise."
    key = ("rel_l2", "bf16", "chained", "layers.1.norm", "out", "a.b")
    assert rule.fits(*key, kind="norm", values=127)
    assert not rule.fits(*key, kind="norm", values=128)
    assert not rule.fits(*key, kind="rest", values=127)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((str(FACTOR), "3.5"), f"[fitted]: rule 1: factor 3.5 is not the {FACTOR:g} that its evidence gives"),
        (("rows = 1000", "rows = 12"), "[fitted]: rule 1: 12 rows are no evidence, at least 30 are"),
        (("rows = 1000", "rows = 1.5"), "[fitted]: rule 1: rows must be a whole number from 0 up, got 1.5"),
        ((", largest = 1.25", ""), "[fitted]: rule 1: largest is missing"),
        (('"norm", dtype', '"nurm", dtype'), "[fitted]: rule 1: kind 'nurm' matches none of norm, rest"),
        ((KINDS, ""), "[fitted]: rule 1: kind 'norm' matches none of no [kinds]"),
        (('["*norm", "*norm.[0-9]"]', '"*norm"'), "[kinds]: each kind must be a list of patterns of sites"),
        (('suites = ["tiny"]', "suites = []"), "[fitted]: suites must be a list of texts, got []"),
        (("seeds = 2", ""), "[fitted]: seeds is missing"),
        (("rules = [", "lines = ["), "[fitted]: rules must be a list of tables"),
        (("[[fallback]]", "[fallback]"), "file: fallback must be [[fallback]] tables"),
        (
            (FALLBACK, FALLBACK + FALLBACK.replace("rest", "more")),
            "rule 'more': never decides, rule 'rest' above fits whatever it fits",
        ),
    ],
)
def test_each_problem_of_the_fitted_part_is_said(tmp_path, change, problem):
    assert change[0] in WHOLE
    assert problem in problems(tmp_path, WHOLE.replace(*change))


def test_a_wider_rule_for_small_tensors_does_not_hide_the_rule_for_all(tmp_path):
    small = RULE.replace("factor", "values_below = 16\nfactor")
    assert [rule.name for rule in read(tmp_path, BASELINE + small + RULE.replace("one", "two")).rules] == ["one", "two"]
    less = small.replace("one", "two").replace("16", "8")
    assert problems(tmp_path, BASELINE + small + less) == [
        "rule 'two': never decides, rule 'one' above fits whatever it fits"
    ]


def test_the_limit_is_a_tolerance_bound_of_what_variants_show():
    assert factor_of(1000, 1.0) == factor_of(1000, 0.2) == LEAST
    # the largest of 999 draws is at 3.09 standard deviations, one in ten million at 5.2
    assert factor_of(999, 1.25) == math.ceil(100 * 1.25 ** (5.1993 / 3.0902)) / 100
    assert factor_of(FEWEST, 1.25) > factor_of(1000, 1.25) > factor_of(100_000, 1.25) > 1.25


def decides(metric: str, dtype: str, mode: str = "isolated", case: str = "tiny-scout.long"):
    rules = read_budgets(COMMITTED).ordered
    return next((r for r in rules if r.fits(metric, dtype, mode, "a", "out", case)), None)


def test_steps_and_gradients_have_rules_of_their_own():
    assert decides("rel_l2", "f64", "gradient").limit == 1e-10
    assert decides("rel_l2", "f64", "chained", "tiny-scout.decode").limit == 1e-12
    step = decides("rel_l2", "f32", "chained", "tiny-scout.decode")
    assert (step.name, step.factor) == ("f32-step-rel_l2", 2.67)
    assert decides("rel_l2", "f32", "chained").name == "f32-rel_l2"
    assert decides("rel_l2", "bf16", "chained", "tiny-scout.decode").name == "low-rel_l2"


def test_the_committed_budgets_are_the_design():
    assert decides("rel_l2", "f64").limit == 1e-12
    for dtype in ("f32", "bf16", "f16"):
        assert (decides("rel_l2", dtype).factor, decides("max_abs", dtype).factor) == (2.0, 4.0)
        assert decides("kl", dtype).factor == 4.0
        assert decides("top1", dtype).limit == 0.0
    for dtype in ("f64", "f32", "bf16", "f16"):
        assert decides("agreement", dtype).limit == 0.0
        assert all(decides(metric, dtype) is None for metric in ("cosine", "sqnr", "max_ulp"))
    assert decides("top1", "f64").limit == 0.0


def test_the_committed_kl_minimum_is_half_a_squared_roundoff():
    for dtype, roundoff in (("bf16", 2.0**-8), ("f16", 2.0**-11), ("f32", 2.0**-24)):
        minimum = decides("kl", dtype).minimum_eps_x
        assert float(f"{roundoff / 2:.1g}") == float(f"{minimum:.1g}"), dtype
