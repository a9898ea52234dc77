"""Coverage: every kind of gap is found, on the toy family by hand and on every committed golden by deleting a site."""

from dataclasses import replace
from pathlib import Path

import pytest
from judge_rows import port, row

from paritygate.catalog.select import families, suites
from paritygate.core.cell import Mode
from paritygate.core.coverage import Inspection, PartKind
from paritygate.core.drift import Verdict
from paritygate.core.errors import UsageError
from paritygate.core.family import Case, Family
from paritygate.core.golden import Golden, TensorRef
from paritygate.core.registry import extend
from paritygate.core.site import Glue
from paritygate.judge.coverage import prove
from paritygate.store.golden import GoldenStore

ROOT = Path(__file__).parents[3]
CASE = "toy-2.plain"
BLOCK = ("norm.weight", "up.weight", "down.weight")
WEIGHTS = {
    name: TensorRef(f"sha256 of {name}", "bfloat16", (14, 10))
    for name in ("embed.weight", *(f"layers.{i}.{name}" for i in (0, 1) for name in BLOCK), "head.weight")
}
MODULES = ("", "embed", *(f"layers.{i}{part}" for i in (0, 1) for part in ("", ".norm", ".up", ".down")), "head")
GOLDEN = Golden(
    Case("toy", "toy-2", "plain"),
    {},
    {},
    WEIGHTS,
    (port("head:out"),),
    {},
    {},
    "",
    computation=(*MODULES, "layers.0:activate", "layers.1:activate"),
)
CANDIDATE = Inspection(CASE, "f64/single/cpu", (*MODULES, "layers.0.tap_active", "layers.1.tap_active"), WEIGHTS)
ROWS = [row("head:out", Verdict.PASS, mode="chained", case=CASE)]
BOTH = (Mode.ISOLATED, Mode.CHAINED)


@pytest.fixture(scope="module")
def toy() -> Family:
    extend([ROOT / "tests" / "toy"])
    return families()["toy"]


def gaps(family: Family, *, golden=GOLDEN, inspections=(CANDIDATE,), rows=ROWS, modes=BOTH):
    found = prove({CASE: golden}, {"toy": family}, inspections, rows, modes).gaps
    assert all(gap.cases == (CASE,) for gap in found)
    return [(str(gap.verdict), str(gap.part), gap.where, gap.why) for gap in found]


def without(family: Family, *names: str) -> Family:
    left = tuple(site for site in family.sites if site.name not in names)
    assert len(left) == len(family.sites) - len(names)
    return replace(family, sites=left)


def changed(family: Family, name: str, **changes) -> Family:
    return replace(family, sites=tuple(replace(s, **changes) if s.name == name else s for s in family.sites))


def test_the_toy_is_covered_part_by_part(toy):
    coverage = prove({CASE: GOLDEN}, {"toy": toy}, [CANDIDATE], ROWS, BOTH)
    assert coverage.gaps == ()
    assert coverage.parts == {
        PartKind.MODULE: 11,
        PartKind.FUNCTION: 2,
        PartKind.PARAMETER: 8,
        PartKind.GLUE: 1,
        PartKind.CANDIDATE_MODULE: 13,
        PartKind.CANDIDATE_PARAMETER: 8,
    }
    (glue,) = coverage.glue
    assert (glue.name, glue.module, glue.ports) == ("model", "", ("head:out",))


STANDS = "no site and no glue step stands for it"


@pytest.mark.parametrize(
    ("site", "missing"),
    [
        ("embed", {("module", "embed"), ("parameter", "embed.weight")}),
        (
            "layers.{layer}.norm",
            {(kind, f"layers.{i}.norm{of}") for i in (0, 1) for kind, of in (("module", ""), ("parameter", ".weight"))},
        ),
    ],
)
def test_what_a_deleted_site_stood_for_is_missing(toy, site, missing):
    candidate = replace(CANDIDATE, modules=())
    assert set(gaps(without(toy, site), inspections=[candidate])) == {("missing", *part, STANDS) for part in missing}


def test_with_a_block_its_function_and_all_that_it_covers_are_missing(toy):
    found = {(part, where) for verdict, part, where, _ in gaps(without(toy, "layers.{layer}")) if verdict == "missing"}
    assert ("function", "layers.1:activate") in found
    assert {("module", f"layers.0{part}") for part in ("", ".up", ".down")} < found
    assert {("parameter", f"layers.0{part}.weight") for part in (".up", ".down")} < found
    assert {("candidate module", f"layers.0{part}") for part in ("", ".up", ".tap_active")} < found
    assert not {where for _, where in found if "norm" in where}


def test_glue_without_the_value_that_shows_it_is_missing(toy):
    gone = "seen in head:out, which is no value of the family"
    none = "the prompt shows none of the values that it is seen in: head:out"
    found = gaps(without(toy, "head"))
    assert {("missing", "glue", "model", gone), ("missing", "glue", "model", none)} < set(found)
    assert gaps(replace(toy, glue=())) == [
        ("missing", "module", "", STANDS),
        ("missing", "candidate module", "", "it lies in no site's module, and no glue step is it"),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("head:out", Verdict.PASS, mode="isolated", case=CASE)],
        [row("head:out", Verdict.MISSING, mode="chained", case=CASE)],
        [row("head:out", Verdict.ERROR, mode="chained", case=CASE)],
        [row("head:out", Verdict.PASS, mode="chained", case="toy-2.other")],
    ],
)
def test_glue_that_the_chain_did_not_show_is_missing_where_the_chain_was_asked_for(toy, rows):
    why = "seen in head:out, which the chained replay did not compare"
    assert gaps(toy, rows=rows) == [("missing", "glue", "model", why)]
    assert gaps(toy, rows=rows, modes=[Mode.ISOLATED]) == []


def test_glue_that_every_cell_skipped_is_missing_and_says_what_to_run(toy):
    skipped = row("head:out", Verdict.SKIPPED, mode="chained", case=CASE, reason="no token is left")
    why = "seen in head:out, which every cell skipped (no token is left); run f64 too, which has no near ties"
    assert gaps(toy, rows=[skipped]) == [("missing", "glue", "model", why)]
    assert gaps(toy, rows=[skipped, *ROWS]) == []


def test_a_glue_step_that_differs_in_the_chain_was_seen(toy):
    assert gaps(toy, rows=[row("head:out", Verdict.OVER_BUDGET, mode="chained", case=CASE)]) == []


def test_a_part_of_two_sites_is_a_mismatch(toy):
    twice = changed(toy, "embed", covers=("layers.0.up",))
    why = "stood for more than once: by embed and by layers.0"
    assert gaps(twice) == [
        ("mismatch", "module", "layers.0.up", why),
        ("mismatch", "parameter", "layers.0.up.weight", why),
    ]
    also = replace(toy, glue=(*toy.glue, Glue("again", "head", "head", ("head:out",))))
    assert ("mismatch", "module", "head", "stood for more than once: by head and by the glue 'again'") in gaps(also)


def test_a_parameter_may_be_left_to_another_site(toy):
    left = changed(toy, "layers.{layer}.norm", left_out=("*.weight",))
    assert gaps(left) == [("missing", "parameter", f"layers.{i}.norm.weight", STANDS) for i in (0, 1)]
    assert gaps(changed(left, "layers.{layer}", covers=("layers.{layer}.*p", "*.down", "*.norm.weight"))) != []
    taken = ("layers.{layer}.up", "layers.{layer}.down", "layers.{layer}.norm.weight")
    assert gaps(changed(left, "layers.{layer}", covers=taken)) == []


@pytest.mark.parametrize(
    ("inspection", "expected"),
    [
        (
            {"parameters": {n: ref for n, ref in WEIGHTS.items() if n != "head.weight"}},
            ("missing", "candidate parameter", "head.weight", "the candidate has no parameter for this weight"),
        ),
        (
            {"parameters": WEIGHTS | {"scale": WEIGHTS["head.weight"]}},
            ("missing", "candidate parameter", "scale", "the reference has no such weight"),
        ),
        (
            {"parameters": WEIGHTS | {"head.weight": TensorRef("sha256 of another", "bfloat16", (10, 14))}},
            ("mismatch", "candidate parameter", "head.weight", "shape (10, 14), the weight has (14, 10)"),
        ),
        (
            {"parameters": WEIGHTS | {"head.weight": TensorRef("sha256 of another", "bfloat16", (14, 10))}},
            ("mismatch", "candidate parameter", "head.weight", "its values are not the weight's"),
        ),
        (
            {"unused": {"head.bias": 3}},
            ("missing", "candidate parameter", "head.bias", "3 of its elements stand for no weight"),
        ),
        (
            {"shared": {"embed.rows": 140}},
            ("mismatch", "candidate parameter", "embed.rows", "140 of its elements stand for several weights"),
        ),
        (
            {"modules": (*CANDIDATE.modules, "heads")},
            ("missing", "candidate module", "heads", "it lies in no site's module, and no glue step is it"),
        ),
        (
            {"problem": "KeyError: 'up'"},
            (
                "missing",
                "candidate",
                "toy-2",
                "its parameters are not known under the reference's names: KeyError: 'up'",
            ),
        ),
    ],
)
def test_a_candidate_of_other_parts_is_found(toy, inspection, expected):
    assert gaps(toy, inspections=[CANDIDATE, replace(CANDIDATE, **inspection)]) == [expected]


def test_a_candidate_that_nobody_looked_at_and_a_golden_that_says_nothing_are_missing(toy):
    assert gaps(toy, inspections=()) == [("missing", "candidate", "toy-2", "it was not inspected")]
    ((*found, why),) = gaps(toy, golden=replace(GOLDEN, computation=()))
    assert found == ["missing", "reference", "toy-2"]
    assert why.endswith("paritygate golden describe")


def test_a_gap_of_several_cases_is_one(toy):
    other = replace(GOLDEN, case=Case("toy", "toy-2", "plain"), computation=(*GOLDEN.computation, "extra"))
    (gap,) = prove({"a": other, "b": other}, {"toy": toy}, [], [], []).gaps[:1]
    assert (gap.where, gap.cases) == ("extra", ("a", "b"))
    assert gap.text == f"missing  module extra: {STANDS}  (a, b)"


def test_a_config_branch_that_no_preset_takes_is_listed_and_no_gap(toy):
    coverage = prove({CASE: GOLDEN}, {"toy": toy}, [CANDIDATE], ROWS, BOTH)
    assert [(branch.key, branch.value) for branch in coverage.unexercised] == [("layers", 1)]


def test_an_unknown_family_is_named(toy):
    with pytest.raises(UsageError, match="unknown family: toy"):
        prove({CASE: GOLDEN}, {"other": toy}, [], [], BOTH)


STORE = GoldenStore(ROOT / "golden")
# One golden of each preset: what its reference consists of does not depend on the prompt.
PRESETS = {case.preset: (suite, case) for suite, cases in suites().items() for case in cases if suite in STORE.suites()}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_site_of_every_family_stands_for_something(preset):
    """None can be deleted without a part that is missing then, and with all of them there is none."""
    suite, case = PRESETS[preset]
    golden, family = STORE.read(suite, case.id), families()[case.family]
    stacks = {site.name for site in family.sites_of(family.preset(preset))}

    def missing(family: Family) -> list[str]:
        found = prove({case.id: golden}, {case.family: family}, [], [], [Mode.ISOLATED]).gaps
        return [gap.where for gap in found if gap.part is not PartKind.CANDIDATE and gap.verdict is Verdict.MISSING]

    assert missing(family) == []
    for site in family.sites:
        left = replace(family, sites=tuple(other for other in family.sites if other is not site))
        gone = stacks - {other.name for other in left.sites_of(left.preset(preset))}
        assert bool(missing(left)) == bool(gone), site.name
