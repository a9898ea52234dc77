"""The one sentence about a row that differs."""

import math
from dataclasses import replace

import pytest
from judge_rows import BF16, F64, row

from paritygate.catalog.families.llama4 import FAMILY
from paritygate.catalog.families.llama4_multimodal import FAMILY as WITH_PICTURES
from paritygate.catalog.meshes import MESHES
from paritygate.core.drift import Diagnosis, Judgement, Row, Verdict
from paritygate.core.error_map import Edge, ErrorMap, MapAxis
from paritygate.core.family import Case
from paritygate.core.golden import Golden
from paritygate.core.ratios import Ratios
from paritygate.core.where import Where
from paritygate.judge.evidence import with_evidence

LAYOUTS = {cell: MESHES["single"] for cell in (F64, BF16)}
FROM_8 = Where("T", "from", (8,), 38, 1.0)
HEAD = Where("N", "at", (4,), 6, 0.99)


def judged(row: Row, case: str = "tiny-scout.long", family=FAMILY, layouts=LAYOUTS) -> Row:
    """A row of a case with its evidence and edges."""
    parsed = Case.parse(family.name, case)
    golden = Golden(parsed, family.preset(parsed.preset).config, {}, {}, (), {}, {}, "")
    (found,) = with_evidence([row], {row.drift.case: golden}, {family.name: family}, layouts)
    return found


def said(row: Row, case: str = "tiny-scout.long", family=FAMILY) -> str:
    return judged(row, case, family).evidence


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


def mapped(*axes: tuple[str, int], cell: str = F64, first: int = 0) -> Row:
    """A row with a map of these axes, tokens being counted from `first`."""
    sides = tuple(MapAxis(letter, size, 1, first if letter == "T" else 0) for letter, size in axes)
    return over(
        cell,
        error_map=ErrorMap(sides[:2], sides[2:], ""),
        layout=" ".join(letter for letter, _ in axes),
        shape=tuple(size for _, size in axes),
    )


def test_edges_are_of_the_parts_that_the_family_has_a_name_for():
    steps = {block.name: FAMILY.preset("tiny-scout").config[block.size] for block in FAMILY.blocks}
    of_tokens = tuple(Edge("T", name, every) for name, every in steps.items())
    of_keys = tuple(Edge("S", name, every) for name, every in steps.items())
    assert judged(mapped(("B", 2), ("T", 38), ("D", 24))).edges == of_tokens
    assert set(judged(mapped(("B", 2), ("T", 38), ("N", 6), ("S", 38))).edges) == {*of_tokens, *of_keys}
    # Where a row is padded on the left, keys beside tokens are slots, and chunks of them lie elsewhere in each row.
    assert judged(mapped(("B", 2), ("T", 38), ("N", 6), ("S", 38)), "tiny-scout.padded").edges == of_tokens
    keys = judged(mapped(("B", 2), ("S", 38), ("K", 2), ("H", 10)), "tiny-scout.padded").edges
    assert keys == of_keys
    assert judged(mapped(("B", 2), ("T", 3), ("D", 24))).edges == ()  # no edge lies on it
    assert judged(mapped(("B", 2), ("T", 3), ("D", 24), first=30)).edges == of_tokens
    assert judged(over()).edges == ()


def test_edges_are_of_the_parts_that_devices_have():
    cell = "f64/tp2/cpu"
    row = mapped(("B", 8), ("T", 16), ("N", 8), ("H", 10), cell=cell)
    (part,) = (e for e in judged(row, "mesh-text.batch", layouts={cell: MESHES["tp2"]}).edges if "part" in e.name)
    assert part == Edge("N", "tp part", 4)


def test_a_factor_that_stands_out_is_in_the_sentence():
    width = FAMILY.preset("tiny-scout").config["head_dim"]
    off = Ratios(round(4 * math.log2(width**0.5)), (100,), (0,), 0, width**0.5, 1.0)
    assert said(over(ratios=off)).startswith("f64 differs by 3e-2 everywhere; 100% of the elements are ")
    assert said(over(ratios=off)).endswith(f", √{width}: head_dim is {width}")
