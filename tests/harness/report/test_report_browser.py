"""The page in a real browser: every view, deep links, filters, keyboard; nothing is fetched, and the policy holds."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.report import render
from paritygate.report.data import ReportData
from paritygate.report.render import HERE, render_html

ROW = "tiny-scout.long bf16/single/cpu chained layers.1.attn:inner.q_rope"
LINKED = "tiny-scout.long+bf16/single/cpu+chained+layers.1.attn:inner.q_rope"
# Sections that nobody looks at are not laid out, and clip what sticks out of them.
UNCLIPPED = "document.querySelectorAll('section').forEach((each) => { each.style.contentVisibility = 'visible' })"
SITE = "#site-layers\\.1\\.attn"


@dataclass
class Visit:
    """A page that was opened, with all that it said and asked for."""

    page: Any
    path: Path
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def go(self, fragment: str = "") -> Any:
        """Opens the page anew at a fragment, and waits until it answers."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.path}{fragment}")
        self.page.wait_for_selector("html[data-state=interactive]")
        return self.page

    @property
    def fragment(self) -> str:
        return self.page.evaluate("location.hash")

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def shown(self) -> str:
        """What the table says of how many rows are chosen."""
        return self.page.text_content("#rows .tools > span.muted")


@pytest.fixture(scope="module")
def browser(chromium: ModuleType) -> Iterator[Any]:
    if chromium.executable() is None and "CI" not in os.environ:
        pytest.skip("no chromium on this machine")  # in CI a page that goes untested is a failure
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.executable(), args=chromium.FLAGS)
        yield browser
        browser.close()


Opens = Callable[..., Visit]


@pytest.fixture(scope="module")
def opens(browser: Any) -> Iterator[Opens]:
    """Makes a visit of a file; at the end, nothing was asked for but the file, and nothing was said."""
    visits: list[Visit] = []

    def visit(path: Path, **options: Any) -> Visit:
        made = Visit(browser.new_page(**{"viewport": {"width": 1280, "height": 860}} | options), path)
        made.page.on("console", lambda message: made.said.append(message.text))
        made.page.on("pageerror", lambda error: made.said.append(f"uncaught {error}"))
        made.page.on("request", lambda request: made.asked.append(request.url))
        visits.append(made)
        return made

    yield visit
    for each in visits:
        asked = {url.partition("#")[0] for url in each.asked if not url.startswith(("about:", "blob:"))}
        assert asked <= {f"file://{each.path}"}
        assert each.said == []


@pytest.fixture(scope="module")
def path(failing: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(failing))
    return path


@pytest.fixture(scope="module")
def desk(opens: Opens, path: Path) -> Visit:
    return opens(path, accept_downloads=True)


@pytest.fixture(scope="module")
def phone(opens: Opens, path: Path) -> Visit:
    return opens(path, viewport={"width": 360, "height": 740}, color_scheme="dark")


def test_a_script_that_is_put_in_does_not_run(browser: Any, path: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "report.html"
    tampered.write_text(path.read_text().replace("</main>", "</main><script>document.title = 'taken over'</script>"))
    visit = Visit(browser.new_page(), tampered)
    visit.page.on("console", lambda message: visit.said.append(message.text))
    page = visit.go()
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken over'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=\\"document.title = 'taken over'\\">");
    }""")
    page.wait_for_timeout(50)
    assert page.title() != "taken over"
    refusals = [text for text in visit.said if "Content Security Policy" in text]
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


def test_the_strip_filters_everything_below_and_back_undoes_it(desk: Visit) -> None:
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


def test_a_regex_chooses_by_address_and_says_when_it_is_none(desk: Visit) -> None:
    page = desk.go("#table")
    page.fill("#rows input[type=search]", r"attn:inner\.[qk]_rope$")
    page.wait_for_selector(".filter-line:not([hidden])")
    assert desk.shown() == f"{2 * 4 * 3 * 8:,} rows"
    assert {text.partition(":")[2] for text in desk.texts("#rows td.c-value")} <= {"inner.q_rope", "inner.k_rope"}
    page.fill("#rows input[type=search]", "attn(")
    page.wait_for_selector("#rows input[aria-invalid=true]")
    assert "Invalid regular expression" in page.text_content("#rows [role=alert]")
    assert desk.shown() == "0 rows"


def test_facets_count_what_each_value_would_choose(desk: Visit, failing: ReportData) -> None:
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


def test_any_column_sorts(desk: Visit) -> None:
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


def test_the_table_draws_what_is_in_sight_and_goes_by_keys(desk: Visit) -> None:
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


def test_the_heat_map_goes_by_keys_and_opens_the_worst_row(desk: Visit) -> None:
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


def test_a_click_on_a_square_opens_its_worst_row(desk: Visit) -> None:
    page = desk.go("#heatmap&diagnosis=semantic&cell=f64/single/cpu")
    page.locator(".heat-view canvas").scroll_into_view_if_needed()
    page.wait_for_selector(".legend .ramp")
    box = page.locator(".heat-view canvas").bounding_box()
    page.mouse.move(box["x"] + 160, box["y"] + 60)
    assert "semantic: inner.q_rope" in page.inner_text(".tip")
    page.mouse.click(box["x"] + 160, box["y"] + 60)
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title") == "layers.1.attn:inner.q_rope"


def test_the_heat_map_shows_any_metric_on_either_scale_in_either_order(desk: Visit) -> None:
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


def test_a_link_to_a_row_opens_it_over_the_table(desk: Visit) -> None:
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
def test_a_value_that_is_named_opens_its_row(desk: Visit, section: str) -> None:
    page = desk.go(f"#{section}")
    link = page.locator(f"#{section} a[data-row]").first
    wanted = link.text_content()
    link.click()
    page.wait_for_selector(".drawer .row-panel")
    assert page.inner_text(".drawer .title") == wanted
    page.keyboard.press("Escape")
    assert link.evaluate("link => document.activeElement === link")


def test_a_link_to_a_site_and_row_opens_its_page_there(desk: Visit) -> None:
    page = desk.go(f"#site-layers.1.attn&row={LINKED}")
    page.wait_for_selector(f"{SITE} .row-panel table")
    assert "tiny-scout.long · bf16/single/cpu · chained" in page.inner_text(f"{SITE} .row-panel h4")
    top = page.locator(SITE).bounding_box()["y"]
    assert 0 <= top < 400
    page.click(f"{SITE} td button >> nth=0")
    assert "&row=tiny-scout.long+f64/single/cpu+isolated+layers.1.attn:in.x" in desk.fragment
    page.wait_for_selector(f"{SITE} .row-panel h4 >> text=in.x · tiny-scout.long")
    page.go_back()
    page.wait_for_selector(f"{SITE} .row-panel h4 >> text=inner.q_rope · tiny-scout.long")


@pytest.mark.parametrize("section", ["divergence", "heatmap", "table", "depth", "coverage", "programs", "provenance"])
def test_every_section_is_reached_by_its_link(desk: Visit, section: str) -> None:
    page = desk.go()
    page.click(f"nav a[href='#{section}']")
    page.wait_for_timeout(100)
    box = page.locator(f"#{section}").bounding_box()
    end = page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY")
    assert -5 <= box["y"] <= 120 or end < 2
    assert desk.fragment == f"#{section}"


def test_fragments_that_mean_nothing_do_no_harm(desk: Visit) -> None:
    page = desk.go("#no-such&verdict=odd&row=none&sort=-odd&metric=odd&scale=%E0%A4%A&__proto__=x&q=%5B")
    assert "Invalid regular expression" in page.text_content("#rows [role=alert]")
    page.click(".filter-line >> text=Clear")
    assert desk.shown() == "2,000 rows"


def test_exports_are_the_chosen_rows_in_the_order_of_the_table(desk: Visit, failing: ReportData) -> None:
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


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("screen", ["desk", "phone"])
@pytest.mark.parametrize("view", ["", f"#&row={LINKED}", "#site-layers.1.attn", "#table&verdict=over+budget&q=attn"])
def test_no_view_has_a_violation_that_axe_finds(request: pytest.FixtureRequest, screen: str, view: str) -> None:
    visit: Visit = request.getfixturevalue(screen)
    page = visit.go(view)
    page.locator(".heat-text summary").evaluate("summary => summary.click()")
    page.locator("#rows .menu summary").nth(2).evaluate("summary => summary.click()")
    page.evaluate(UNCLIPPED)
    page.wait_for_timeout(100)
    assert violations(page) == []


@pytest.mark.parametrize("view", ["", "#heatmap", "#table&q=attn", f"#&row={LINKED}", "#site-layers.1.attn", "#depth"])
def test_nothing_sticks_out_on_a_phone(phone: Visit, view: str) -> None:
    page = phone.go(view)
    page.evaluate(UNCLIPPED)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_phone_has_the_columns_that_matter(phone: Visit) -> None:
    page = phone.go("#table")
    assert [text.strip(" ↓").lower() for text in phone.texts("#rows thead th")] == ["verdict", "value", "of limit"]
    page.click("#row-2")
    page.wait_for_selector(".drawer .row-panel")
    assert page.locator(".drawer").bounding_box()["width"] == 360


def test_dark_is_dark_on_paper_and_on_the_canvas(desk: Visit, phone: Visit) -> None:
    def light(visit: Visit) -> tuple[int, int]:
        page = visit.go("#heatmap")
        page.locator(".heat-view").scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        return page.evaluate("""() => {
            const canvas = document.querySelector(".heat-view canvas");
            const paper = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
            return [paper[0], canvas.getContext("2d").getImageData(2, canvas.height - 2, 1, 1).data[0]];
        }""")

    assert all(value > 200 for value in light(desk))
    assert all(value < 60 for value in light(phone))
    phone.page.emulate_media(color_scheme="light")
    phone.page.wait_for_timeout(100)
    assert all(value > 200 for value in light(phone))
    phone.page.emulate_media(color_scheme="dark")


def test_on_paper_there_is_all_of_the_map_and_no_control(desk: Visit, failing: ReportData) -> None:
    page = desk.go()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(100)
    for selector in ("nav", "#table", "#sites", "#heat .tools"):
        assert not page.is_visible(selector), selector
    lines, tall = len(failing.sites), page.locator(".heat-view canvas").bounding_box()["height"]
    assert tall > 20 * lines  # all of it, and not what was in sight
    page.emulate_media(media="screen")


def test_without_its_script_the_page_says_the_same_in_tables(browser: Any, path: Path, failing: ReportData) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"file://{path}")
    text = " ".join(page.text_content("body").split())
    for words in (
        "FAIL",
        "653 of 2,000 values",
        "semantic 24",
        "Worst rows",
        "rows.jsonl beside it has the same numbers",
    ):
        assert words in text, words
    assert page.locator("#heatmap table.heat tbody tr").count() == len(failing.sites)
    page.close()


def test_a_page_over_its_cap_says_at_a_row_what_it_goes_without(
    opens: Opens, failing: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "cap_bytes", lambda rows: 1)
    path = tmp_path / "report.html"
    path.write_text(render_html(failing))
    visit = opens(path)
    page = visit.go(f"#&row={LINKED}")
    page.wait_for_selector(".drawer .left-out")
    assert "worst elements of rows to blame" in page.inner_text(".drawer .left-out")
    assert "over budget" in page.inner_text(".drawer .row-panel")
    assert "drift in words of passing rows" in page.inner_text("footer >> nth=0")


def test_a_site_named_like_a_script_is_text_on_its_page(opens: Opens, synthetic: ModuleType, tmp_path: Path) -> None:
    path, evil = tmp_path / "report.html", "<img src=x onerror=\"document.title='taken over'\">"
    rows = tuple(synthetic.rows("semantic", extra_site=evil, cases=[evil]))
    path.write_text(render_html(ReportData(synthetic.info(), rows)))
    page = opens(path).go()
    page.evaluate("document.querySelectorAll('details.site').forEach((details) => { details.open = true })")
    page.wait_for_selector("#sites .row-panel table")
    page.fill("#rows input[type=search]", "img")
    page.wait_for_selector(".filter-line:not([hidden])")
    page.click("#row-0")
    page.wait_for_selector(".drawer .row-panel")
    assert evil in page.inner_text(".drawer .title")
    assert page.locator("img").count() == 0
    assert page.title() != "taken over"
    assert evil in page.inner_text("#sites")
