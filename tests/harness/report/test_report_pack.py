"""Packed rows: within a cap, and what a page goes without goes in the stated order."""

import pytest

from paritygate.report.data import ReportData
from paritygate.report.details import DETAILS, DROPS, STATES, drop_words
from paritygate.report.pack import Blocks, cap_bytes, fit, pack
from paritygate.report.parts import SitePages
from paritygate.report.sections import sites


@pytest.fixture(scope="module")
def pages(failing: ReportData) -> SitePages:
    (made,) = sites.build(failing)
    assert isinstance(made, SitePages)
    return made


def test_the_cap_grows_with_the_rows() -> None:
    assert [cap_bytes(rows) for rows in (0, 18_000, 99_000, 180_000, 10**7)] == [
        *(5_000_000, 5_000_000),
        *(17_500_000, 30_000_000, 30_000_000),
    ]


def test_with_room_nothing_is_left_out(pages: SitePages) -> None:
    packed = pack(pages, 10**9)
    assert packed.dropped == ()
    kinds = {name.partition("-")[0] for name in packed.blocks}
    assert kinds >= {"index", "metric", "words", "judgements", "worst"}
    assert kinds & {drop.detail for drop in DROPS}


def test_details_go_in_the_stated_order_until_the_rest_fits() -> None:
    kinds = [(drop.detail.replace("metrics", "metric"), drop.state) for drop in DROPS]
    blocks: Blocks = {(kind, "0", state): "x" * 10 for kind, state in kinds}
    (kind, state), kept_always = kinds[0], ("value", "0", "fail")
    blocks |= {kept_always: "kept", (kind, "1", state): "x" * 10}
    total = sum(map(len, blocks.values()))
    dropped = []
    for room in range(total, -1, -1):
        kept, dropped = fit(blocks, room)
        assert dropped == list(DROPS[: len(dropped)])
        assert kept_always in kept
        assert sum(map(len, kept.values())) <= room or len(dropped) == len(DROPS)
        before = fit(blocks, room + 1)[1]
        assert len(before) <= len(dropped) <= len(before) + 1  # never more than is needed
    assert len(dropped) == len(DROPS)
    assert len(fit(blocks, total - 1)[0]) == len(blocks) - 2  # both chunks of a kind at once


def test_the_table_and_what_says_why_are_never_left_out(pages: SitePages, failing: ReportData) -> None:
    packed = pack(pages, 0)
    assert packed.dropped == tuple(words for words in map(drop_words, DROPS) if words in packed.dropped)
    assert "worst elements of rows to blame" in packed.dropped
    assert {"index", "words-0-fail", "problem-0-fail"} <= set(packed.blocks)
    assert not [name for name in packed.blocks if name.startswith(("worst", "judgements"))]


def test_drops_name_what_there_is() -> None:
    for drop in DROPS:
        assert drop_words(drop)
        assert drop.detail in {"metrics", *(detail.name for detail in DETAILS)}
        assert drop.state in {"all", *STATES}
