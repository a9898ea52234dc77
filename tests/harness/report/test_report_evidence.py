"""What a row shows beside its numbers: its map in characters and in words, flips, steps of its dtype, commands."""

import shlex
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from paritygate.core.decision import Agreeing
from paritygate.core.drift import Element, Row, Verdict
from paritygate.core.error_map import Edge
from paritygate.metrics.base import float_format
from paritygate.metrics.max_ulp import compute
from paritygate.report.commands import commands
from paritygate.report.data import ReportData
from paritygate.report.evidence import FORMATS, facts, fate, flip_words, is_drawn, ulps
from paritygate.report.map_text import SHADES, TALLEST, WIDEST, map_lines, map_words
from paritygate.report.parts import Preformatted, Table, Text
from paritygate.report.row_parts import flips_table, row_parts
from paritygate.report.said import said


def drawn(row: Row) -> list[str]:
    return map_lines(row.drift, row.edges)


def test_a_wrong_head_is_dark_in_its_columns_only(planted: ModuleType) -> None:
    lines = drawn(planted.heads())
    assert lines[0].strip() == "heads · head channels"
    assert lines[1].split() == ["0", "1", "2", "3", "4", "5"]
    body = [line[line.index(SHADES[0]) :] for line in lines[2:-1]]
    assert {tuple("".join(sorted(set(head))) for head in line.split("│")) for line in body} == {
        (SHADES[0],) * 4 + (SHADES[-1],) + (SHADES[0],)
    }
    assert lines[-1].startswith("· equal  ░ 2^-53 of the golden  █ as large as it")


def test_what_is_off_from_a_chunk_on_is_dark_from_its_line_on(planted: ModuleType) -> None:
    lines = drawn(planted.chunk())[1:-1]
    first = next(i for i, line in enumerate(lines) if SHADES[-1] in line)
    assert lines[first].startswith("token 8")
    assert lines[0].startswith("row 0, token 0") and SHADES[-1] not in lines[0]
    again = next(i for i, line in enumerate(lines) if line.startswith("row 1"))
    assert SHADES[-1] not in lines[again]


def test_a_map_of_characters_fits_a_terminal(planted: ModuleType) -> None:
    for row in (planted.heads(), planted.chunk(), planted.flips(), planted.nan()):
        lines = drawn(row)
        assert len(lines) <= TALLEST + 3
        assert max(map(len, lines)) <= WIDEST + 40
    assert "!" in "".join(drawn(planted.nan())[1:-1])
    assert drawn(planted.nan())[-1].endswith("! not finite")


def test_edges_nearer_than_two_blocks_are_not_drawn(planted: ModuleType) -> None:
    row = planted.chunk()
    channels = replace(row, edges=(Edge("D", "tp part", 12),))
    near = replace(row, edges=(Edge("D", "tp part", 1),))
    assert [line.count("│") for line in (drawn(channels)[3], drawn(near)[3])] == [1, 0]


def test_a_map_is_said_in_words(planted: ModuleType) -> None:
    drift = planted.heads().drift
    text = map_words(drift.error_map, drift.kind)
    assert text.startswith("The worst block, row ")
    assert ", head 4, " in text
    assert "of the golden's rms" not in text.replace("times the golden's rms", "")
    assert text.endswith("blocks hold 90% of the squared difference.")
    broken = planted.nan().drift
    assert map_words(broken.error_map, broken.kind).startswith("Not finite in 2 of ")
    assert "the first row 0, tokens 8–9, channel 3." in map_words(broken.error_map, broken.kind)
    choice = planted.flips().drift
    assert map_words(choice.error_map, choice.kind).startswith("The worst block, row 0, token 5, is otherwise in 100%.")


def test_rows_that_pass_are_not_drawn_and_accepted_ones_are(planted: ModuleType) -> None:
    row = planted.passing()
    assert not is_drawn(row)
    assert is_drawn(replace(row, accepted="known"))
    assert is_drawn(replace(planted.flips(), verdict=Verdict.PASS))
    assert not [part for part in row_parts(row) if isinstance(part, Preformatted)]
    assert [part for part in row_parts(planted.chunk()) if isinstance(part, Preformatted)]


@pytest.mark.parametrize("dtype", sorted(FORMATS))
@pytest.mark.parametrize(("golden", "got"), [(1.0, 1.5), (3.0, 2.9), (0.0, 1e-3), (1e-40, 0.0), (-7.0, 7.0)])
def test_steps_are_those_of_the_metric(dtype: str, golden: float, got: float) -> None:
    assert FORMATS[dtype] == float_format(dtype)
    wanted = compute(np.array([[golden]]), np.array([[got]]), dtype)
    assert ulps(Element((0,), golden, got), dtype) == wanted
    assert ulps(Element((0,), golden, got), "int32") is None


def test_each_flip_has_its_fate(planted: ModuleType) -> None:
    row = planted.flips()
    decided, excuse = row.drift.decided, row.excuse
    assert [fate(flip, excuse) for flip in decided.flips] == ["refused", "excused", "follows"]
    assert fate(replace(decided.flips[1], own=-0.5), excuse) == "refused"  # against its own scores
    assert fate(decided.flips[2], replace(excuse, cascaded=0, refused=2)) == "refused"  # it follows from one
    assert flip_words(row) == "1 excused, 1 refused, 1 that follow, of 76 tokens; allowed margin 0.02"
    table = flips_table(decided, excuse)
    assert [[item.text for item in line] for line in table.rows] == [
        ["token 5 of row 0", "1", "3", "0.2", "0.1", "", "refused"],
        ["token 30 of row 0", "0", "2", "0.002", "0.01", "", "excused"],
        ["token 9 of row 0", "2", "0", "0.45", "0.25", "2", "follows"],
    ]


def test_a_row_is_shown_with_what_to_type(synthetic: ModuleType, planted: ModuleType) -> None:
    info, row = synthetic.info(), planted.chunk()
    value = "tiny-scout.long/f64/single/cpu/isolated/layers.1.attn:out"
    assert [command.text for command in commands(info, row)] == [
        "paritygate run tiny-scout.long --suite tiny --cells f64/single/cpu --mode isolated",
        f"paritygate show {info.id} {value}",
        f"paritygate explain {info.id} {value}",
    ]
    forced = synthetic.info(routing="golden", processes=2)
    assert commands(forced, row)[0].text.endswith("--mode isolated --routing golden --processes 2")
    assert len(commands(info, planted.flips())) == 2  # a choice has no drift to be explained
    gradient = replace(row, drift=replace(row.drift, mode="gradient"))
    assert len(commands(info, gradient)) == 2
    assert commands(synthetic.info(cells=("bf16/fsdp16tp4/v5p:4x4x4 (compiled)",)), row) == []


def test_a_name_that_a_shell_would_read_is_quoted(synthetic: ModuleType, planted: ModuleType) -> None:
    row = planted.chunk()
    evil = replace(row, drift=replace(row.drift, case="$(reboot) 'x'", site="a b"))
    for command in commands(synthetic.info(suite="a; b"), evil):
        words = shlex.split(command.text)
        assert words[:1] == ["paritygate"]
        assert any("$(reboot) 'x'" in word for word in words)
    for name in ("a; b", "{row}", "{0.x}", "}{{"):
        assert name in shlex.split(commands(synthetic.info(suite=name), evil)[0].text)


def test_what_was_found_out_is_said_of_its_row(synthetic: ModuleType, planted: ModuleType) -> None:
    found = said(planted.data(synthetic))
    assert list(found) == [planted.heads().drift.key]
    (text,) = found[planted.heads().drift.key]
    assert isinstance(text, Text) and "reads head 3 for head 4" in text.text


def test_what_else_was_measured_is_said_by_name(planted: ModuleType) -> None:
    row = planted.heads()
    agreeing = replace(row.drift, agreeing=Agreeing(60, 76), noise={"rel_l2": 1e-3})
    found = dict(facts(replace(row, drift=agreeing)))
    assert list(found) == ["compared over", "largest golden", "where", "own noise"]
    assert found["compared over"] == "60 of 76 tokens: the others are behind a flip"
    assert (found["where"], found["own noise"]) == ("at head 4 (100% of its square)", "rel_l2 0.001")
    assert list(dict(facts(row))) == ["largest golden", "where"]


def test_worst_elements_have_their_steps(planted: ModuleType) -> None:
    tables = [part for part in row_parts(planted.chunk()) if isinstance(part, Table)]
    worst = next(table for table in tables if table.columns[0].title == "worst elements")
    assert worst.columns[-1].title == "ulp"
    assert all(row[-1].text for row in worst.rows)


def test_a_run_of_before_has_none_of_it(failing: ReportData) -> None:
    assert all(row.drift.error_map is None and not row.edges for row in failing.rows)
    for row in failing.failures[:20]:
        assert not [part for part in row_parts(row) if isinstance(part, Preformatted)]
