"""The same sections in a terminal."""

import re
from dataclasses import replace
from types import ModuleType

import pytest

from paritygate.core.blame import Blame, BlamedLine
from paritygate.core.decision import Agreeing
from paritygate.core.errors import UsageError
from paritygate.report.assemble import sections
from paritygate.report.data import ReportData
from paritygate.report.row_parts import row_parts
from paritygate.report.text import render_parts, render_text

ESCAPE = "\x1b["


def test_every_section_prints(failing: ReportData) -> None:
    text = render_text(failing, width=200)
    for section in (each for each in sections() if each.name not in ("compilations", "table")):
        # Compilations are of runs that replay nothing; the table is what `show` prints a part of.
        expected = "FAIL" if section.name == "verdict" else section.title.upper()
        assert re.search(rf"^{re.escape(expected)}", text, re.M), section.name
    assert "rel_l2 0.96× the noise (limit 2.0×); 1.9 times the accepted drift" in text
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


def test_flips_are_shown_with_margin_bound_and_depth(failing: ReportData, synthetic: ModuleType) -> None:
    (line,) = [line.split() for line in render_text(failing, ["decisions"], 160).splitlines() if "inner.choice" in line]
    shown = "layers.0.moe:inner.choice tiny-scout.long bf16 chained 74 1 0 1 2 0.002 0.02 pass"
    assert line == shown.split()
    assert "2 flips excused" in render_text(failing, ["verdict"], 160)
    (row,) = [row for row in failing.rows if row.excuse]
    said = " ".join(" ".join(render_parts(row_parts(row), 160)).split())
    assert "1 excused, 0 refused, 1 that follow, of 74 tokens; allowed margin 0.02" in said
    assert "token 5 of row 0 1 3 0.002 0.01 excused" in said
    assert "token 9 of row 0 2 0 0.25 0.25 2 follows" in said


def test_of_many_values_with_flips_those_that_are_refused_are_shown(failing: ReportData) -> None:
    (row,) = [row for row in failing.rows if row.excuse]
    rows = [replace(row, drift=replace(row.drift, case=f"c{i:02}")) for i in range(62)]
    rows[-1] = replace(rows[-1], excuse=replace(row.excuse, refused=3))
    said = render_text(replace(failing, rows=tuple(rows)), ["decisions"], 160)
    shown = [line.split()[1] for line in said.splitlines() if "inner.choice" in line]
    assert (len(shown), shown[:2], shown[-1]) == (60, ["c61", "c00"], "c58")
    assert "And 2 more: those with the most refused flips are shown." in " ".join(said.split())


def test_forced_choices_and_left_out_tokens_are_said(passing: ReportData) -> None:
    assert render_text(passing, ["decisions"]) == "\n", "nothing to say"
    rows = tuple(replace(row, drift=replace(row.drift, agreeing=Agreeing(33, 76))) for row in passing.rows[:2])
    forced = replace(passing, info=replace(passing.info, routing="golden"), rows=rows)
    said = " ".join(render_text(forced, ["decisions"]).split())
    assert "Every choice was forced to the golden's" in said
    assert "2 values behind a flip were compared" in said and "at least 33 of 76" in said
    assert "the candidate's own are not covered" in forced.not_covered[-1]


def test_unknown_section_names_the_known_ones(passing: ReportData) -> None:
    with pytest.raises(UsageError) as caught:
        render_text(passing, ["verdit"])
    assert str(caught.value).splitlines() == [
        "unknown section: verdit",
        "  expected  one of baseline, compilations, coverage, decisions, depth, divergence, heatmap, kills, "
        "precision, programs, provenance, sites, table, verdict",
        "  try       did you mean verdict?",
    ]


def test_a_passing_run_has_no_divergence(passing: ReportData) -> None:
    text = render_text(passing)
    assert text.startswith("PASS  All ")
    assert "FIRST DIVERGENCE" not in text


def only(data: ReportData, **wanted: list[str]) -> ReportData:
    """The rows whose drift has one of the values in each field."""
    rows = (row for row in data.rows if all(getattr(row.drift, name) in values for name, values in wanted.items()))
    return replace(data, rows=tuple(rows))


def accepting(data: ReportData, count: int) -> ReportData:
    """The same run with so many rows far over their limits, and accepted."""
    far = [replace(j, ratio=j.limit * 7.77, ok=False) for j in data.rows[0].judgements]
    rows = [replace(row, judgements=tuple(far), reason="over", accepted="known") for row in data.rows[:count]]
    return replace(data, rows=(*rows, *data.rows[count:]))


def test_what_a_baseline_accepts_is_not_within_budget(passing: ReportData) -> None:
    total = len(passing.rows)
    data = accepting(passing, 3)
    text = render_text(data, ["verdict"], 200)
    assert text.startswith(
        f"PASS  Of {total:,} values of 3 cases {total - 3:,} are within budget, "
        "3 over budget and accepted in the baseline.\n"
    )
    assert "3 accepted in the baseline" in text
    assert "7.8×" not in text and "777 %" not in text, "how near it is to its limit is no question"
    assert "1 rows, " not in render_text(data, ["sites"], 200)
    assert "over budget and accepted in the baseline" in render_text(data, ["sites"], 200)
    cells = [line.split() for line in text.splitlines() if line.startswith(passing.rows[0].drift.cell)]
    assert [line[3] for line in cells if line[1] == passing.rows[0].drift.mode] == ["3"]


def test_a_run_in_which_everything_is_accepted(passing: ReportData) -> None:
    data = only(passing, case=[passing.cases[0]], site=["embed"], port=["out"])
    text = render_text(accepting(data, len(data.rows)), None, 200)
    assert f"0 are within budget, {len(data.rows)} over budget and accepted in the baseline." in text
    assert "Nearest" not in text


NO_FLOAT64 = "No float64 cell was run: a semantic fault below the noise is not excluded."
NOT_CHAINED = "Not chained: the glue between modules is not covered, and no program was linted."


@pytest.mark.parametrize(
    ("cells", "modes", "said"),
    [
        (["f64", "f32"], ["isolated", "chained"], []),
        (["f32", "bf16"], ["isolated", "chained"], [NO_FLOAT64]),
        (["f64"], ["isolated"], [NOT_CHAINED]),
        (["f64"], ["chained"], []),
        (["bf16"], ["isolated"], [NO_FLOAT64, NOT_CHAINED]),
    ],
    ids=str,
)
def test_a_pass_says_what_it_does_not_cover(
    passing: ReportData, cells: list[str], modes: list[str], said: list[str]
) -> None:
    data = only(passing, cell=[f"{cell}/single/cpu" for cell in cells], mode=modes)
    lines = render_text(data, ["verdict"], 200).splitlines()
    assert [line for line in (NO_FLOAT64, NOT_CHAINED) if line in lines] == said


LONG = "model.layers.11.feed_forward.experts.gate_up_proj.with.a.name.that.does.not.end"


@pytest.mark.parametrize("width", [100, 120])
def test_long_addresses_wrap_at_dots_and_leave_prose_its_width(
    synthetic: ModuleType, failing: ReportData, width: int
) -> None:
    first = failing.first_divergences[0]
    rows = tuple(
        replace(row, drift=replace(row.drift, site="gradients", port=LONG))
        if row.drift.address == first.drift.address
        else row
        for row in failing.rows
    )
    text = render_text(replace(failing, rows=rows), ["verdict"], width)
    table = text[text.index("Worst rows") :].splitlines()[1:]
    head = table[0]
    at = [head.index(title) for title in ("value", "drift", "diagnosis")]
    assert at[2] - at[1] - 2 >= 24
    assert max(map(len, table)) <= width
    pieces = [line[at[0] : at[1]].strip() for line in table]
    assert f"gradients:{LONG}" in "".join(pieces)
    start = next(i for i, piece in enumerate(pieces) if piece.startswith("gradients:"))
    assert pieces[start][-1] in ".:", "broken behind a dot"


def test_provenance_says_what_the_run_was_judged_by(synthetic: ModuleType, passing: ReportData) -> None:
    assert "JUDGED BY" not in render_text(passing, ["provenance"], 160).upper()
    data = replace(passing, info=synthetic.info(budgets="b" * 64))
    text = render_text(data, ["provenance"], 160)
    assert re.search(rf"^budgets   {'b' * 64}$", text, re.M) and re.search(r"^baseline  none$", text, re.M)
    data = replace(passing, info=synthetic.info(budgets="b" * 64, baseline="c" * 64))
    assert re.search(rf"^baseline  {'c' * 64}$", render_text(data, ["provenance"], 160), re.M)


def test_coverage_says_what_is_not_covered_and_what_only_the_chain_covers(synthetic: ModuleType) -> None:
    data = ReportData(synthetic.info(), tuple(synthetic.rows("none")), coverage=synthetic.coverage())
    assert render_text(data, ["coverage"], width=140).splitlines() == [
        "COVERAGE",
        "1 gap among 77 modules, 51 parameters, 1 glue step.",
        "verdict  part    where          why                                     cases",
        "missing  module  layers.3.attn  no site and no glue step stands for it  tiny-scout.long",
        "",
        "Glue, which only the chained replay covers",
        "glue   module             seen in      what it does",
        "model  (the whole model)  lm_head:out  hidden states to the head",
        "",
        "Config branches that no preset of this run takes",
        "key             value  what it chooses",
        "attention_bias  True   biases of the projections",
    ]
    banner = render_text(data, ["verdict"], width=140).splitlines()
    assert banner[:2] == [
        "FAIL  Not everything is covered, though all 2,000 values of 3 cases are within budget.",
        "Not covered: module layers.3.attn, missing: no site and no glue step stands for it.",
    ]


def test_without_a_gap_coverage_says_how_much_there_is(synthetic: ModuleType) -> None:
    coverage = replace(synthetic.coverage(), gaps=())
    data = ReportData(synthetic.info(), tuple(synthetic.rows("none")), coverage=coverage)
    assert "No gap among 77 modules, 51 parameters, 1 glue step." in render_text(data, ["coverage"])
    assert render_text(data, ["verdict"]).startswith("PASS  ")
    assert "0 gaps in coverage" in render_text(data, ["verdict"])


def test_a_finding_that_nobody_expected_is_first_and_fails_the_run(synthetic: ModuleType) -> None:
    data = ReportData(synthetic.info(), tuple(synthetic.rows("none")), lint=synthetic.lint())
    text = render_text(data, ["verdict", "precision"], width=200)
    assert text.startswith("FAIL  The precision lint found what nobody expected")
    finding = "low-math  moe.py:69 (jax_llama4.moe:Llama4Router.__call__): logistic in 16 bits"
    assert f"Not expected: {finding}" in text
    assert text.index("1 finding that nobody expected.") < text.index("As they must be: 1 finding")
    assert "llama4: low-mask in jax_llama4.masks:*" in text
    back = replace(data, lint=replace(synthetic.lint(), new=(replace(synthetic.lint().new[0], of="backward"),)))
    for section in ("verdict", "precision"):
        assert "low-math, backward" in render_text(back, [section], width=200)
        assert "low-math, backward" not in text
    listed = replace(synthetic.lint(), new=(), listed=synthetic.lint().new)
    assert render_text(replace(data, lint=listed), width=200).startswith("PASS")


def test_the_lines_to_blame_are_ranked_with_what_raising_them_gives(failing: ReportData) -> None:
    row = failing.first_divergences[0]
    lines = (
        BlamedLine("attention.py:47", "attention_weights", "dot_general in bfloat16", 0.55, 0.0039),
        BlamedLine("attention.py:55", "attention_weights", "exp in bfloat16", 0.3, 0.001),
        BlamedLine("norms.py:15", "_divide_by_rms", "rsqrt in float32", 1e-7, 0.004),
    )
    where = (row.drift.case, row.drift.cell, row.drift.mode, row.drift.address)
    blame = Blame(*where, 0.004, 0.004, 1e-16, lines, inputs=0.12, remainder=0.03, raised_to="float32")

    def said(blame: Blame) -> str:
        return " ".join(render_text(replace(failing, blames=(blame,)), ["divergence"], width=200).split())

    text = said(blame)
    assert f"Lines to blame for {row.drift.address} in {row.drift.case}, " in text
    assert "Drift of the run 0.004, of the program one equation after another 0.004, of the same program in " in text
    assert "55% attention.py:47 attention_weights dot_general in bfloat16 0.0039 30% attention.py:55 " in text
    assert "12% golden inputs, rounded to the cell's dtypes 3% what lines do only together" in text
    assert "Raising attention.py:55 (attention_weights) gives back most." in text
    assert "norms.py:15" not in text, "it adds nothing to speak of"
    assert "do not trust" not in text and "no rounding explains" not in text
    assert "All parts together miss the drift by 0.01 of it: do not trust" in said(replace(blame, unequal=0.01))
    assert "which no rounding explains: see its f64 cell" in said(replace(blame, exact=0.002))
    assert "no line is blamed: the backward pass" in said(replace(blame, reason="the backward pass is not taken apart"))
    other = replace(blame, address="no.such:out")
    assert "Lines to blame" not in said(other), "it is of a row that does not differ first"


def test_a_program_that_was_not_recorded_fails_the_run_and_is_told_with_its_bytes(synthetic: ModuleType) -> None:
    compiled, changed = synthetic.programs()
    rows = tuple(synthetic.rows("none"))
    data = ReportData(synthetic.info(), rows, programs=compiled, program_changes=changed)
    text = render_text(data, ["verdict", "programs"], width=200)
    assert text.startswith("FAIL  Compiled programs are not those that were recorded")
    assert f"Changed: {changed.changes[0].text}" in text
    assert "12,288" in text  # bytes of three turns
    told = replace(changed, changes=tuple(replace(each, weight="told") for each in changed.changes))
    assert render_text(replace(data, program_changes=told), width=200).startswith("PASS")
