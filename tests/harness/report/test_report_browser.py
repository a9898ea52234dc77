"""The page in a real browser: filters, the table, the heat map, deep links, keyboard, exports; the policy holds."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paritygate.core.drift import Verdict
from paritygate.report.data import ReportData
from paritygate.report.render import HERE, render_html

LINKED = "tiny-scout.long+bf16/single/cpu+chained+layers.1.attn:inner.q_rope"
CASE, CELL = ("tiny-scout.long",), ("f64/single/cpu",)
SITE = "#site-layers\\.1\\.attn"


def test_a_script_that_is_put_in_does_not_run(browser: Any, path: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "report.html"
    tampered.write_text(path.read_text().replace("</main>", "</main><script>document.title = 'taken over'</script>"))
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"file://{tampered}")
    page.wait_for_selector("html[data-state=interactive]")
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken over'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=\\"document.title = 'taken over'\\">");
    }""")
    page.wait_for_timeout(50)
    assert page.title() != "taken over"
    refusals = [text for text in said if "Content Security Policy" in text]
    assert len(refusals) >= 3  # both scripts, and the picture
    page.close()


def test_each_module_is_one_that_a_browser_takes_as_it_is(browser: Any, path: Path) -> None:
    """The same page with its modules apart, as a linter sees them, instead of joined."""
    page, said = browser.new_page(bypass_csp=True), []
    page.on("pageerror", lambda error: said.append(str(error)))
    html = path.read_text()
    start = html.index('<script type="module">')
    apart = html[:start] + '<script type="module" src="main.js"></script>' + html[html.index("</body>") :]

    def answer(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        if name.endswith(".js"):
            route.fulfill(body=(HERE / "static" / name).read_text(), content_type="text/javascript")
        else:
            route.fulfill(body=apart if not name else "", content_type="text/html")

    page.route("**/*", answer)
    page.goto("http://report.test/")
    page.wait_for_selector("html[data-state=interactive]")
    assert said == []
    page.close()


def test_the_strip_filters_everything_below_and_back_undoes_it(desk: Any) -> None:
    page = desk.go()
    assert desk.shown() == "2,000 rows"
    page.click("#strip button >> text=semantic")
    assert desk.fragment == "#&diagnosis=semantic"
    assert desk.shown() == "24 rows"
    assert page.inner_text(".filter-line").startswith("24 of 2,000 rows")
    page.locator(".heat-text summary").scroll_into_view_if_needed()
    page.click(".heat-text summary")
    page.wait_for_selector(".heat-text table")
    assert desk.texts(".heat-text th[scope=row]") == ["layers.1.attn"]
    assert page.locator("details.site:not([hidden]) .site-name").all_text_contents() == ["layers.1.attn"]
    page.click("#strip button >> text=regressed")
    assert desk.shown() == "0 rows"  # both filters hold
    page.locator("#rows").scroll_into_view_if_needed()
    page.wait_for_selector("#rows td >> text=No row is as these filters say.")
    page.go_back()
    assert desk.shown() == "24 rows"
    assert page.get_attribute("#strip button >> text=semantic", "aria-pressed") == "true"
    page.go_back()
    assert desk.shown() == "2,000 rows"
    assert not page.is_visible(".filter-line")
    page.go_forward()
    assert desk.shown() == "24 rows"
    page.click(".filter-line >> text=Clear")
    assert desk.shown() == "2,000 rows"
    assert desk.fragment == ""


def test_a_regex_chooses_by_address_and_says_when_it_is_none(desk: Any) -> None:
    page = desk.go("#table")
    page.fill("#rows input[type=search]", r"attn:inner\.[qk]_rope$")
    page.wait_for_selector(".filter-line:not([hidden])")
    assert desk.shown() == f"{2 * 4 * 3 * 8:,} rows"
    assert {text.partition(":")[2] for text in desk.texts("#rows td.c-value")} <= {"inner.q_rope", "inner.k_rope"}
    page.fill("#rows input[type=search]", "attn(")
    page.wait_for_selector("#rows input[aria-invalid=true]")
    assert "Invalid regular expression" in page.text_content("#rows [role=alert]")
    assert desk.shown() == "0 rows"


def test_facets_count_what_each_value_would_choose(desk: Any, failing: ReportData) -> None:
    page = desk.go("#table&verdict=over+budget")
    page.click("#rows .menu summary >> text=cell")
    shown = dict(text.rsplit("\n", 1) for text in desk.texts("#rows .menu[open] label"))
    over = [row.drift.cell for row in failing.rows if row.verdict == "over_budget"]
    assert shown == {cell: str(over.count(cell)) for cell in failing.info.cells}
    page.check("#rows .menu[open] label >> text=bf16/single/cpu")
    kept = dict(text.rsplit("\n", 1) for text in desk.texts("#rows .menu[open] label"))
    assert kept == shown  # what a value of the same facet would add
    page.check("#rows .menu[open] label >> text=f64/single/cpu")
    assert desk.fragment == "#table&verdict=over+budget&cell=bf16/single/cpu&cell=f64/single/cpu"
    assert desk.shown() == f"{over.count('bf16/single/cpu') + over.count('f64/single/cpu')} rows"
    page.keyboard.press("Escape")
    assert page.locator("#rows .menu[open]").count() == 0


def test_any_column_sorts(desk: Any) -> None:
    page = desk.go("#table")
    columns = page.locator("#rows thead th")
    assert columns.count() == 12
    for i in range(columns.count()):
        button = columns.nth(i).locator("button")
        for _ in range(2):
            button.click()
            assert columns.nth(i).get_attribute("aria-sort") in ("ascending", "descending")
    page.click("#rows thead button >> text=drift")
    values = [float(text) for text in desk.texts("#rows td.c-measured") if text]
    assert values == sorted(values, reverse=True)
    assert desk.fragment == "#table&sort=-measured"
    page.click("#rows thead button >> text=drift")
    assert desk.fragment == "#table&sort=measured"
    values = [float(text) for text in desk.texts("#rows td.c-measured") if text]
    assert values == sorted(values)


def test_the_table_draws_what_is_in_sight_and_goes_by_keys(desk: Any) -> None:
    page = desk.go("#table")
    page.focus("#rows table")
    assert page.locator("#rows tbody tr[data-i]").count() < 60
    assert page.get_attribute("#rows table", "aria-rowcount") == "2001"
    page.keyboard.press("End")
    assert page.get_attribute("#rows table", "aria-activedescendant") == "row-1999"
    assert page.is_visible("#row-1999")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    wanted = page.inner_text("#row-1 td.c-value")
    page.keyboard.press("Enter")
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title") == wanted
    assert page.evaluate("document.activeElement === document.querySelector('.drawer .title')")
    assert page.inner_text(".drawer .tools .muted") == "2 of 2,000"
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.inner_text(".drawer .tools .muted") == "3 of 2,000"
    assert page.get_attribute("#rows tr[aria-selected=true]", "id") == "row-2"
    page.keyboard.press("Escape")
    assert not page.is_visible(".drawer")
    assert page.evaluate("document.activeElement === document.querySelector('#rows table')")


def test_the_heat_map_goes_by_keys_and_opens_the_worst_row(desk: Any) -> None:
    page = desk.go("#heatmap&case=tiny-scout.long")
    page.focus(".heat-view")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    said = page.text_content("#heat [aria-live]")
    assert said.startswith("layers.0; bf16 isolated; pass: ")
    assert said.endswith("; 0 of 2 rows are not a pass")
    assert "layers.0" in page.inner_text(".tip")
    page.keyboard.press("Enter")
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title").startswith("layers.0:")
    assert "bf16/single/cpu · isolated" in page.inner_text(".drawer h4")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === document.querySelector('.heat-view')")


def test_a_click_on_a_square_opens_its_worst_row(desk: Any) -> None:
    page = desk.go("#heatmap&diagnosis=semantic&cell=f64/single/cpu")
    page.locator(".heat-view canvas").scroll_into_view_if_needed()
    page.wait_for_selector(".legend .ramp")
    box = page.locator(".heat-view canvas").bounding_box()
    page.mouse.move(box["x"] + 160, box["y"] + 60)
    assert "semantic: inner.q_rope" in page.inner_text(".tip")
    page.mouse.click(box["x"] + 160, box["y"] + 60)
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title") == "layers.1.attn:inner.q_rope"


def test_the_heat_map_shows_any_metric_on_either_scale_in_either_order(desk: Any) -> None:
    page = desk.go("#heatmap")
    page.locator(".heat-view").scroll_into_view_if_needed()
    page.select_option("#heat select", "rel_l2")
    page.click("#heat .segments button >> text=log")
    page.click("#heat .segments button >> text=kind of site")
    assert desk.fragment == "#heatmap&metric=rel_l2&scale=log&group=kind"
    page.click(".heat-text summary")
    page.wait_for_selector(".heat-text table")
    assert desk.texts(".heat-text th[scope=row]")[3:7] == [f"layers.{i}" for i in range(4)]
    assert "e-1" in page.inner_text(".heat-text tbody tr:first-child")
    low, high = (float(text) for text in desk.texts(".legend > span:not(.key)"))
    assert 0 < low < 1e-14
    assert 0.1 < high < 1
    page.click("#heat .segments button >> text=execution order")
    assert desk.texts(".heat-text th[scope=row]")[3:5] == ["layers.0", "layers.0.input_norm"]


def test_the_heat_map_shows_the_worst_value_of_a_metric_whichever_row_has_it(
    opens: Any, synthetic: Any, tmp_path: Path
) -> None:
    """The site `norm` has two values. `out` is over its budget; `in.x` passes, and is further off in both metrics."""
    metrics = {"in.x": {"rel_l2": 0.5, "cosine": 0.25}, "out": {"rel_l2": 0.125, "cosine": 0.75}}
    rows = [row for row in synthetic.rows("none", cases=CASE, cells=CELL) if row.drift.site == "norm"]
    rows = [replace(row, drift=replace(row.drift, metrics=metrics[row.drift.port])) for row in rows]
    rows = [replace(row, verdict=Verdict.OVER_BUDGET) if row.drift.port == "out" else row for row in rows]
    path = tmp_path / "report.html"
    path.write_text(render_html(ReportData(synthetic.info(cases=CASE, cells=CELL), tuple(rows))))
    visit = opens(path)
    page = visit.go("#heatmap")
    page.click(".heat-text summary")
    for metric, shown in (("rel_l2", "0.5"), ("cosine", "0.25")):
        page.select_option("#heat select", metric)
        page.wait_for_selector(f".heat-text td >> text='O {shown}'")
        assert visit.texts(".heat-text td.fail") == [f"O {shown}"] * 2
    assert visit.texts(".legend > span:not(.key)") == ["0.25", "0.25"]
    page.focus(".heat-view")
    page.keyboard.press("ArrowDown")
    said = page.text_content("#heat [aria-live]")
    assert "over budget: out, tiny-scout.long" in said
    assert "cosine 0.25: in.x, tiny-scout.long; 1 of 2 rows are not a pass" in said
    page.keyboard.press("Enter")
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title") == "norm:in.x"


def test_the_heat_map_is_darker_where_a_metric_is_worse(desk: Any) -> None:
    page = desk.go("#heatmap&metric=cosine")
    page.wait_for_selector(".legend .ramp")
    pale, dark = (float(text) for text in desk.texts(".legend > span:not(.key)"))
    assert dark < pale == 1


def test_a_link_to_a_row_opens_it_over_the_table(desk: Any) -> None:
    page = desk.go(f"#&sort=-share&row={LINKED}")
    page.wait_for_selector(".drawer .row-panel table")
    panel = page.inner_text(".drawer")
    for words in ("layers.1.attn:inner.q_rope", "semantic", "worst elements", "rel_l2", "Other rows of layers.1.attn"):
        assert words in panel, words
    page.locator("#rows").scroll_into_view_if_needed()
    page.wait_for_selector("#rows tr[aria-selected=true]")
    assert (
        page.inner_text("#rows tr[aria-selected=true] td.c-value") == "layers.1.attn:inner.q_rope"
    )  # far down, and drawn there
    page.click(".drawer .others button >> nth=0")
    page.wait_for_selector(".drawer h4 >> text=tiny-scout.padded")
    page.click(".drawer >> text=Site page")
    page.wait_for_selector(f"{SITE} .row-panel")
    assert not page.is_visible(".drawer")
    assert "tiny-scout.padded · bf16/single/cpu · chained" in page.inner_text(f"{SITE} .row-panel h4")
    page.go_back()
    page.wait_for_selector(".drawer .row-panel")


@pytest.mark.parametrize("section", ["verdict", "divergence", "decisions"])
def test_a_value_that_is_named_opens_its_row(desk: Any, section: str) -> None:
    page = desk.go(f"#{section}")
    link = page.locator(f"#{section} a[data-row]").first
    wanted = link.text_content()
    link.click()
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title") == wanted
    page.keyboard.press("Escape")
    assert link.evaluate("link => document.activeElement === link")


def test_a_link_to_a_site_and_row_opens_its_page_there(desk: Any) -> None:
    page = desk.go(f"#site-layers.1.attn&row={LINKED}")
    page.wait_for_selector(f"{SITE} .row-panel table")
    assert "tiny-scout.long · bf16/single/cpu · chained" in page.inner_text(f"{SITE} .row-panel h4")
    top = page.locator(SITE).bounding_box()["y"]
    assert 0 <= top < 400
    page.click(f"{SITE} td button >> nth=0")
    assert "&row=tiny-scout.long+f64/single/cpu+isolated+layers.1.attn:in.x" in desk.fragment
    page.wait_for_selector(f"{SITE} .row-panel h4:has-text('in.x')")
    page.go_back()
    page.wait_for_selector(f"{SITE} .row-panel h4:has-text('inner.q_rope')")


@pytest.mark.parametrize("section", ["divergence", "heatmap", "table", "depth", "coverage", "programs", "provenance"])
def test_every_section_is_reached_by_its_link(desk: Any, section: str) -> None:
    page = desk.go()
    page.click(f"nav a[href='#{section}']")
    page.wait_for_timeout(100)
    box = page.locator(f"#{section}").bounding_box()
    end = page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY")
    assert -5 <= box["y"] <= 120 or end < 2
    assert desk.fragment == f"#{section}"


def test_fragments_that_mean_nothing_do_no_harm(desk: Any) -> None:
    page = desk.go("#no-such&verdict=odd&row=none&sort=-odd&metric=odd&scale=%E0%A4%A&__proto__=x&q=%5B")
    assert "Invalid regular expression" in page.text_content("#rows [role=alert]")
    page.click(".filter-line >> text=Clear")
    assert desk.shown() == "2,000 rows"


def test_exports_are_the_chosen_rows_in_the_order_of_the_table(desk: Any, failing: ReportData) -> None:
    page = desk.go("#table&verdict=over+budget&mode=isolated&sort=-share")
    with page.expect_download() as saving:
        page.click("#rows .tools >> text=CSV")
    with open(saving.value.path(), newline="") as file:
        lines = list(csv.DictReader(file))
    with page.expect_download() as saving:
        page.click("#rows .tools >> text=JSON")
    records = json.loads(Path(saving.value.path()).read_text())
    assert saving.value.suggested_filename == "rows.json"
    wanted = [r for r in failing.rows if r.verdict == "over_budget" and r.drift.mode == "isolated"]
    assert len(lines) == len(records) == len(wanted) > 0
    shares = [record["share"] for record in records]
    assert shares == sorted(shares, reverse=True)
    first = max(wanted, key=lambda row: max(j.share for j in row.judgements))
    assert (records[0]["case"], records[0]["cell"]) == (first.drift.case, first.drift.cell)
    assert records[0]["metric.rel_l2"] == float(f"{first.drift.metrics['rel_l2']:.4g}")
    assert float(lines[0]["metric.rel_l2"]) == records[0]["metric.rel_l2"]
    assert list(lines[0]) == list(records[0])
