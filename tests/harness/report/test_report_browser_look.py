"""The page in a real browser for everyone: no violation, on a phone, in the dark, on paper, without its script."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.report import render
from paritygate.report.data import ReportData
from paritygate.report.render import render_html

LINKED = "tiny-scout.long+bf16/single/cpu+chained+layers.1.attn:inner.q_rope"
# Sections that nobody looks at are not laid out, and clip what sticks out of them.
UNCLIPPED = "document.querySelectorAll('section').forEach((each) => { each.style.contentVisibility = 'visible' })"


@pytest.mark.parametrize("screen", ["desk", "phone"])
@pytest.mark.parametrize("view", ["", f"#&row={LINKED}", "#site-layers.1.attn", "#table&verdict=over+budget&q=attn"])
def test_no_view_has_a_violation_that_axe_finds(
    request: pytest.FixtureRequest, chromium: ModuleType, screen: str, view: str
) -> None:
    visit: Any = request.getfixturevalue(screen)
    page = visit.go(view)
    page.locator(".heat-text summary").evaluate("summary => summary.click()")
    page.locator("#rows .menu summary").nth(2).evaluate("summary => summary.click()")
    page.evaluate(UNCLIPPED)
    page.wait_for_timeout(100)
    assert chromium.violations(page) == []


@pytest.mark.parametrize("view", ["", "#heatmap", "#table&q=attn", f"#&row={LINKED}", "#site-layers.1.attn", "#depth"])
def test_nothing_sticks_out_on_a_phone(phone: Any, view: str) -> None:
    page = phone.go(view)
    page.evaluate(UNCLIPPED)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_phone_has_the_columns_that_matter(phone: Any) -> None:
    page = phone.go("#table")
    assert [text.strip(" ↓").lower() for text in phone.texts("#rows thead th")] == ["verdict", "value", "of limit"]
    page.click("#row-2")
    page.wait_for_selector(".drawer .row-panel")
    assert page.locator(".drawer").bounding_box()["width"] == 360


def test_dark_is_dark_on_paper_and_on_the_canvas(desk: Any, phone: Any) -> None:
    def light(visit: Any) -> tuple[int, int]:
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


def test_on_paper_there_is_all_of_the_map_and_no_control(desk: Any, failing: ReportData) -> None:
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
    opens: Any, failing: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_site_named_like_a_script_is_text_on_its_page(opens: Any, synthetic: ModuleType, tmp_path: Path) -> None:
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
