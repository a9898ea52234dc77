"""The page: offline, sealed by its policy, escaped, readable without its script, small."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.core.drift import Row
from paritygate.report import parts as parts_module
from paritygate.report.chart import HEIGHT, WIDTH, draw
from paritygate.report.data import ReportData
from paritygate.report.evidence import ulps
from paritygate.report.parts import Details, Grid, LineChart
from paritygate.report.render import render_html, write_report
from paritygate.report.sections import depth

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Tags with attributes, and the text outside scripts and styles."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.blocks, self.inside = "", {"script": [], "style": []}, ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in self.blocks else self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.blocks[self.inside].append(data)
        else:
            self.text += data


@pytest.fixture(scope="module")
def page(failing: ReportData) -> str:
    return render_html(failing)


def test_nothing_outside_the_file_is_named(page: str) -> None:
    for tag, attributes in Reader(page).tags:
        assert not {"src", "srcset", "style", "onclick", "onload", "onerror"}.intersection(attributes), (
            tag,
            attributes,
        )
        assert (attributes.get("href") or "#").startswith("#"), attributes
        assert tag not in ("link", "iframe", "img", "object", "base")
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|import\(", page)


def test_the_policy_names_exactly_the_style_and_the_script(page: str) -> None:
    reader = Reader(page)
    policy = next(a["content"] for t, a in reader.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    hashes = [
        "sha256-" + base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        for block in (reader.blocks["style"][0], reader.blocks["script"][-1])
    ]
    assert re.findall(r"'(sha256-[^']+)'", policy) == hashes
    scripts = [a.get("type", "") for t, a in reader.tags if t == "script"]
    assert set(scripts[:-1]) == {"text/plain"}  # the data, which does not run, and the one script
    assert scripts[-1] == "module"


def test_names_are_escaped_everywhere(synthetic: ModuleType) -> None:
    rows = tuple(synthetic.rows("semantic", extra_site=EVIL))
    info = synthetic.info(suite=EVIL, problems=(EVIL,), command=(EVIL,), versions={EVIL: EVIL}, workers=({EVIL: EVIL},))
    page = render_html(ReportData(info, rows, EVIL, synthetic.coverage(EVIL), lint=synthetic.lint(EVIL)))
    assert EVIL not in page
    assert {a.get("type") for t, a in Reader(page).tags if t == "script"} == {"text/plain", "module"}
    assert EVIL in Reader(page).text  # and still readable


def test_the_head_is_readable_without_the_script(page: str) -> None:
    text = " ".join(Reader(page).text.split())
    for words in (
        "FAIL",
        "of 2,000 values of 3 cases are not a pass",
        "Look first at layers.1.attn:inner.q_rope",
        "the float64 cell differs too",
        "the noise (limit 2.0×)",
        "43.5 s",
        "1.20 GiB",
        "17 values are not finite",
        "Not covered: module layers.3.attn, missing: no site and no glue step stands for it.",
    ):
        assert words in text, words


def test_heat_map_has_a_line_a_site_and_marks_what_is_not_a_pass(failing: ReportData, page: str) -> None:
    table = page[page.index('<table class="heat">') : page.index("</table>", page.index('<table class="heat">'))]
    assert table.count('<th scope="row">') == len(failing.sites)
    assert table.count("<td class=") == len(failing.sites) * len(failing.places)
    assert {m for m in re.findall(r"<b>(.)</b>", table)} == set("ORNXME")
    origin = table[table.index(">layers.1.attn<") :].split("</tr>")[0]
    assert origin.count('class="fail ') == 8
    after = table[table.index(">layers.2.attn<") :].split("</tr>")[0]
    assert (after.count('class="propagated '), after.count('class="pass ')) == (4, 4)


def blocks(page: str) -> dict[str, Any]:
    """The packed blocks of a page, by name."""
    found = re.findall(r'<script type="text/plain" id="packed-([^"]+)">([^<]+)</script>', page)
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}


def test_the_packed_index_has_a_line_a_row(failing: ReportData, page: str) -> None:
    index = blocks(page)["index"]
    assert index["sizes"] == [len(failing.rows_of_site[site]) for site in failing.sites]
    assert index["labels"] == failing.cell_labels
    at = sum(index["sizes"][: failing.sites.index("layers.1.attn")])
    row = failing.rows_of_site["layers.1.attn"][0]
    drift, worst = row.drift, row.worst_judgement
    assert worst is not None
    shown = {column: index["names"][column][places[at]] for column, places in index["places"].items()}
    assert shown == {
        **{"case": drift.case, "cell": drift.cell, "mode": drift.mode, "port": drift.port, "kind": "float"},
        **{"verdict": "pass", "diagnosis": "", "state": "pass", "mark": "", "judged": worst.metric},
    }
    numbers = {column: values[at] for column, values in index["numbers"].items()}
    assert numbers == {
        "share": float(f"{worst.share:.4g}"),
        "measured": float(f"{worst.value:.4g}"),
        "rho": None,  # the cell in float64 has a fixed limit
        "limit": worst.limit,
    }


def test_details_and_metrics_of_every_row_are_packed(failing: ReportData, page: str) -> None:
    found = blocks(page)
    index, rows = found["index"], [row for site in failing.sites for row in failing.rows_of_site[site]]
    assert index["metrics"] == ["agreement", "max_abs", "rel_l2", "cosine"]  # judged ones first
    assert [v is None for v in found["metric-2"]] == ["rel_l2" not in row.drift.metrics for row in rows]
    states = [index["names"]["state"][place] for place in index["places"]["state"]]
    for state in ("pass", "propagated", "fail"):
        mine = [row for row, s in zip(rows, states, strict=True) if s == state][: index["chunk"]]
        packed = found[f"worst-0-{state}"]
        assert len(packed) == len(mine)
        for row, values in zip(mine, packed, strict=True):
            assert (values or []) == [
                value
                for each in row.drift.worst  # nine digits of each value, four of their difference
                for value in (
                    list(each.index), float(f"{each.golden:.9g}"), float(f"{each.got:.9g}"),
                    float(f"{each.got - each.golden:.4g}"), float(f"{ulps(each, row.drift.dtype):.4g}"),
                )
            ]  # fmt: skip
        names = [index["strings"][j[0]] for j in found[f"judgements-0-{state}"] if j]
        assert set(names) <= {"rel_l2", "max_abs", "1 − agreement"}


def test_every_kind_of_part_has_a_macro() -> None:
    macros = (Path(parts_module.__file__).parent / "templates" / "parts.html.j2").read_text()
    kinds = {kind.__name__ for kind in parts_module.Part.__args__}
    assert kinds <= set(re.findall(r"macro (\w+)\(value\)", macros))


def test_a_real_run_makes_a_small_page(synthetic: ModuleType) -> None:
    rows = tuple(synthetic.rows("semantic", layers=6, cases=[f"tiny-scout.{i}" for i in range(7)]))
    assert len(rows) > 6_000
    page = render_html(ReportData(synthetic.info(), rows))
    assert len(page.encode()) < 1_500_000


def test_equal_runs_make_equal_pages(failing: ReportData, page: str) -> None:
    assert render_html(failing) == page


def test_report_is_written_whole_into_the_run_folder(synthetic: ModuleType, tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "r1", "semantic")
    path = write_report(run.folder)
    assert path == run.folder / "report.html"
    assert path.read_text().endswith("</html>")
    assert not list(run.folder.glob("*.tmp"))


def charts(data: ReportData) -> list[LineChart]:
    details = [part for part in depth.build(data) if isinstance(part, Details)]
    grids = [part for d in details for part in d.parts if isinstance(part, Grid)]
    return [chart for grid in grids for chart in grid.parts if isinstance(chart, LineChart)]


def test_drift_against_depth_has_a_chart_a_case_and_cell(failing: ReportData) -> None:
    found = charts(failing)
    assert len(found) == len(failing.cases) * 4
    for chart in found:
        assert [series.name for series in chart.series] == ["isolated", "chained"]
        assert all([point.x for point in series.points] == [0, 1, 2, 3] for series in chart.series)
        drawing = draw(chart)
        for line in drawing.lines:
            assert all(0 <= dot.x <= WIDTH and 0 <= dot.y <= HEIGHT for dot in line.dots)
            assert [dot.ok for dot in line.dots] == [True] * 4 or line.name == "chained"
            assert bool(line.band) == (not chart.title.startswith("f64"))  # the oracle's dtype has no floor
            assert line.limit
    assert [dot.ok for dot in draw(found[0]).lines[1].dots] == [True, True, False, False]


def test_two_stacks_of_layers_have_charts_of_their_own(failing: ReportData) -> None:
    def of_tower(row: Row) -> Row:
        return replace(row, drift=replace(row.drift, site=f"vision.{row.drift.site}"))

    tower = tuple(of_tower(row) for row in failing.rows if row.drift.site.startswith(("layers.0", "layers.1")))
    found = charts(replace(failing, rows=(*failing.rows, *tower)))
    assert len(found) == 2 * len(charts(failing))
    lengths = {chart.title: [len(series.points) for series in chart.series] for chart in found}
    assert lengths["f64/single/cpu layers"] == [4, 4]
    assert lengths["f64/single/cpu vision.layers"] == [2, 2]


def test_a_layer_without_a_site_of_its_own_is_read_at_its_last_output(synthetic: ModuleType) -> None:
    rows = tuple(r for r in synthetic.rows("none", cases=["a"]) if r.drift.site != "layers.2")
    layers = depth.layer_outputs(rows)["a", "f32/single/cpu", "chained"]["layers"]
    assert [layers[i].drift.site for i in range(4)] == ["layers.0", "layers.1", "layers.2.mlp", "layers.3"]


def test_a_drift_of_exactly_zero_sits_on_the_axis(synthetic: ModuleType) -> None:
    from paritygate.report.parts import Point, Series

    points = (Point(0, 0.0, 1e-7, 2e-7, True), Point(1, 1e-7, 1e-7, 2e-7, True))
    drawing = draw(LineChart("t", "layer", "rel_l2", (Series("chained", points),)))
    assert drawing.lines[0].dots[0].y == drawing.bottom
