"""The page in a real browser, where there is one: the script draws, nothing is fetched, the policy holds."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.report.data import ReportData
from paritygate.report.render import render_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

# In CI a missing browser fails: the page would go untested without a word.
pytestmark = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def test_page_draws_sites_fetches_nothing_and_refuses_foreign_scripts(
    browser: Any, failing: ReportData, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(failing).replace("</main>", "</main><script>document.title = 'taken over'</script>"))
    page = browser.new_page(viewport={"width": 390, "height": 844})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"uncaught {error}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{path}#site-layers.1.attn")
    page.wait_for_selector("#site-layers\\.1\\.attn .row-panel table")
    panel = page.inner_text("#site-layers\\.1\\.attn .row-panel")
    assert "inner.q_rope" in panel
    assert "semantic" in panel
    assert [url.partition("#")[0] for url in asked] == [f"file://{path}"]
    assert page.title() != "taken over"
    assert [message for message in said if "Content Security Policy" in message]  # the planted script was refused
    assert not [message for message in said if "Content Security Policy" not in message]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out on a phone
    page.click("#site-layers\\.0\\.attn\\.glue summary")
    page.wait_for_selector("#site-layers\\.0\\.attn\\.glue .row-panel")


def test_a_site_named_like_a_script_is_text_on_its_page(browser: Any, synthetic: ModuleType, tmp_path: Path) -> None:
    path, evil = tmp_path / "report.html", "<img src=x onerror=\"document.title='taken over'\">"
    rows = tuple(synthetic.rows("semantic", extra_site=evil, cases=[evil]))
    path.write_text(render_html(ReportData(synthetic.info(), rows)))
    page = browser.new_page()
    page.goto(f"file://{path}")
    page.evaluate("document.querySelectorAll('details.site').forEach((details) => { details.open = true })")
    page.wait_for_selector(".row-panel table")
    assert page.locator("img").count() == 0
    assert page.title() != "taken over"
    assert evil in page.inner_text("#sites")
