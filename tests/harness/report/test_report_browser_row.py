"""A row in full in a real browser: its map, histograms, flips and commands, by mouse, by keys, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_report_browser import CHROMIUM, FLAGS, pytestmark  # noqa: F401

from paritygate.report.render import render_html


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(planted: ModuleType, synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "report.html"
    path.write_text(render_html(planted.data(synthetic)))
    return path
