"""The same sections in a terminal."""

import re
from types import ModuleType

import pytest

from paritygate.core.errors import UsageError
from paritygate.report.assemble import sections
from paritygate.report.data import ReportData
from paritygate.report.text import render_text

ESCAPE = "\x1b["


def test_every_section_prints(failing: ReportData) -> None:
    text = render_text(failing, width=200)
    for section in sections():
        expected = "FAIL" if section.name == "verdict" else section.title.upper()
        assert re.search(rf"^{re.escape(expected)}", text, re.M), section.name
    assert "rel_l2 1.0× the noise (limit 2.0×); 1.9 times the accepted drift" in text
    assert "layers.1.attn:inner.q_rope" in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_lines_fit_and_no_name_is_cut(failing: ReportData, width: int) -> None:
    text = render_text(failing, ["divergence", "heatmap", "depth"], width)
    if width >= 100:
        assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "layers.1.attn:inner.q_rope" in text


def test_colour_only_on_request(failing: ReportData) -> None:
    plain, coloured = render_text(failing), render_text(failing, color=True)
    assert ESCAPE not in plain
    stripped = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_a_name_cannot_send_control_codes_to_the_terminal(synthetic: ModuleType) -> None:
    rows = tuple(synthetic.rows("semantic", extra_site="evil\x1b[2Jsite", cases=["a\x1b[31m"]))
    assert "\x1b" not in render_text(ReportData(synthetic.info(), rows))


def test_heat_map_marks_with_letters(failing: ReportData) -> None:
    text = render_text(failing, ["heatmap"])
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["layers.1.attn"].count("O ") == 8
    assert lines["layers.2.attn"].count("o ") == 4
    assert " N " in lines["embed"] + " "


def test_unknown_section_names_the_known_ones(passing: ReportData) -> None:
    with pytest.raises(UsageError) as caught:
        render_text(passing, ["verdit"])
    assert str(caught.value).splitlines() == [
        "unknown section: verdit",
        "  expected  one of depth, divergence, heatmap, provenance, sites, verdict",
        "  try       did you mean verdict?",
    ]


def test_a_passing_run_has_no_divergence(passing: ReportData) -> None:
    text = render_text(passing)
    assert text.startswith("PASS  All ")
    assert "FIRST DIVERGENCE" not in text
