"""The builder of runs that never ran, for every test here, and the page of one in a browser."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.report.data import ReportData
from paritygate.report.render import render_html


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"report_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    return load("synthetic")


@pytest.fixture(scope="session")
def planted() -> ModuleType:
    """Rows with one fault each, measured."""
    return load("planted")


@pytest.fixture(scope="session")
def chromium() -> ModuleType:
    return load("chromium")


@pytest.fixture(scope="session")
def passing(synthetic: ModuleType) -> ReportData:
    return ReportData(synthetic.info(), tuple(synthetic.rows("none")))


@pytest.fixture(scope="session")
def failing(synthetic: ModuleType) -> ReportData:
    """A semantic fault at layers.1.attn:inner.q_rope, single rows with every other verdict, a gap, a new finding."""
    made, said = tuple(synthetic.rows("all")), "captured with seed 0"
    compiled, changed = synthetic.programs()
    return ReportData(
        synthetic.info(), made, said, synthetic.coverage(), lint=synthetic.lint(), programs=compiled,
        program_changes=changed, comparison=synthetic.comparison(), kill_matrix=synthetic.kill_matrix(),
    )  # fmt: skip


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
    """One for a file of tests, and not pytest-playwright's, which stays open for the session.

    As long as playwright is open a loop of asyncio runs in the thread, and no later test there could start one.
    """
    with chromium.launched() as browser:
        yield browser


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
