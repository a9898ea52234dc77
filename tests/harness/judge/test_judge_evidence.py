"""The one sentence about a row that differs."""

from dataclasses import replace

import pytest
from judge_rows import BF16, F64, row

from paritygate.catalog.families.llama4 import FAMILY
from paritygate.catalog.families.llama4_multimodal import FAMILY as WITH_PICTURES
from paritygate.catalog.meshes import MESHES
from paritygate.core.drift import Diagnosis, Judgement, Row, Verdict
from paritygate.core.family import Case
from paritygate.core.golden import Golden
from paritygate.core.where import Where
from paritygate.judge.evidence import with_evidence

LAYOUTS = {cell: MESHES["single"] for cell in (F64, BF16)}
FROM_8 = Where("T", "from", (8,), 38, 1.0)
HEAD = Where("N", "at", (4,), 6, 0.99)


def said(row: Row, case: str = "tiny-scout.long", family=FAMILY) -> str:
    """The evidence of a row of a case."""
    parsed = Case.parse(family.name, case)
    golden = Golden(parsed, family.preset(parsed.preset).config, {}, {}, (), {}, {}, "")
    (found,) = with_evidence([row], {row.drift.case: golden}, {family.name: family}, LAYOUTS)
    return found.evidence


def over(cell: str = F64, **fields) -> Row:
    return row("layers.0.attn:out", cell=cell, metrics={"rel_l2": 0.03}, **fields)


def test_float64_differs_in_the_words_of_the_family():
    assert said(over(where=(FROM_8,))) == "f64 differs by 3e-2 from the first token of the second chunk on"
    assert said(over(where=(HEAD, FROM_8))) == (
        "f64 differs by 3e-2 at head 4, from the first token of the second chunk on"
    )
    assert said(over()) == "f64 differs by 3e-2 everywhere"
    assert said(over(where=(FROM_8,)), "tiny-multimodal.mixed", WITH_PICTURES).endswith("of the second chunk on")


def test_a_family_that_is_not_known_has_no_words():
    golden = Golden(Case("other", "a", "b"), FAMILY.presets[0].config, {}, {}, (), {}, {}, "")
    (found,) = with_evidence([over(where=(FROM_8,))], {"toy.short": golden}, {}, LAYOUTS)
    assert found.evidence == "f64 differs by 3e-2 from token 8 on"


@pytest.mark.parametrize(
    ("case", "places", "words"),
    [
        ("tiny-scout.decode", (1,), "in the row padded on the left"),
        ("tiny-scout.padded", (1,), "in the row padded on the left"),
        ("tiny-scout.leftpad", (1,), "at row 1"),
        ("tiny-scout.long", (1,), "at row 1"),
        ("tiny-scout.far", (0,), "at row 0"),
    ],
)
def test_rows_by_what_others_have_not(case, places, words):
    assert said(over(where=(Where("B", "at", places, 2, 1.0),)), case).endswith(words)


def test_in_pieces_the_piece_is_named():
    assert said(row("layers.0:out#2", metrics={"rel_l2": 0.5}), "tiny-scout.decode") == (
        "f64 differs by 5e-1 in the piece of slot 12"
    )
    assert said(row("layers.0:out", metrics={"rel_l2": 0.5}), "tiny-scout.decode") == (
        "f64 differs by 5e-1 in the piece of slots 0 to 10"
    )


def test_low_precision_is_held_against_its_noise():
    judgement = Judgement("rel_l2", 0.03, 0.01, 0.001, 3.0, 2.0, "low", False)
    low = replace(over(BF16), judgements=(judgement,), diagnosis=Diagnosis.PRECISION)
    assert said(low) == "bf16 differs by 3e-2, rel_l2 3× the noise, everywhere, and f64 agrees"
    assert said(replace(low, diagnosis=Diagnosis.SEMANTIC)).endswith("the noise, everywhere")


def test_what_is_no_number_has_evidence_too():
    channel = (Where("D", "at", (3,), 40, 1.0),)
    bad = row("a:out", Verdict.NONFINITE, nonfinite=6, where=channel, shape=(2, 3, 4))
    assert said(bad) == "not finite in f64: 6 of 24 values at channel 3"
    wrong = row("a:out", Verdict.MISMATCH, reason="shape (2, 4, 3), golden (2, 3, 4)")
    assert said(wrong) == "f64 gives another kind of value: shape (2, 4, 3), golden (2, 3, 4)"
    choice = row("a:out", kind="index", metrics={"agreement": 0.75}, where=(Where("T", "at", (5,), 38, 1.0),))
    assert said(choice) == "f64 differs in 25 % of the elements at token 5"


def test_what_passes_or_was_not_compared_has_none():
    assert said(row("a:out", Verdict.PASS)) == ""
    assert said(row("a:out", Verdict.MISSING)) == ""
