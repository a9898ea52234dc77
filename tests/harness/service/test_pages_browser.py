"""Every page in a real browser, behind a login: no violation, no request elsewhere; a report that can do nothing."""

import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from harness.report import chromium
from harness.service import seeded
from paritygate.service.tokens import create
from paritygate.service.words import url

RUN = "/projects/port/runs/20261105-030405-tiny"
HISTORY = {"case": seeded.CASE, "cell": seeded.CELLS[1], "mode": "chained", "address": seeded.ADDRESS, "branch": "main"}
PAGES = {
    "projects": "/projects",
    "runs": "/projects/port/runs",
    "a run": RUN,
    "a run that passes": "/projects/port/runs/20261109-030405-tiny",
    "rows": f"{RUN}/rows?order=share&mode=chained&verdict=over_budget",
    "a row over time": url("projects", "port", "history", **HISTORY),
    "two runs": "/projects/port/compare?left=20261105-030405-tiny&right=latest",
    "which runs": "/projects/port/compare",
    "an approval": "/projects/port/runs/20261106-030405-tiny/approve?select=*/bf16/*/embed:out&reason=because",
    "the baseline": "/projects/port/baselines",
    "jobs": "/projects/port/jobs",
    "a job": "/projects/port/jobs/3",
    "no jobs": "/projects/empty/jobs",
    "no runs": "/projects/empty/runs",
    "the log": "/audit",
    "hostile runs": "/projects/hostile/runs",
    "a hostile run": "/projects/hostile/runs/hostile",
    "hostile rows": "/projects/hostile/runs/hostile/rows?verdict=over_budget&mode=isolated",
}


@pytest.fixture(scope="module")
def address(site: SimpleNamespace) -> Iterator[str]:
    """Where a server of the site listens, on a free port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(site.app, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def logged_in(browser: Any, site: SimpleNamespace, address: str) -> Iterator[SimpleNamespace]:
    """A page of somebody who logged in on the way to a page; all that it said, and asked for, is kept."""
    token = create(site.app.state.service.engine, "ada", ("read", "submit", "approve", "admin"), "tests")
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page, said, asked = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"uncaught {error}"))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(address + PAGES["runs"])
    page.fill("input[name=token]", token)
    with page.expect_navigation():
        page.click("main button")
    assert page.url == address + PAGES["runs"]  # back where it was going
    yield SimpleNamespace(page=page, said=said, asked=asked, context=context)
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_violation_and_asks_nobody_else(logged_in: Any, address: str, name: str) -> None:
    page = logged_in.page
    logged_in.said.clear()
    logged_in.asked.clear()
    page.set_viewport_size({"width": 1280, "height": 860})
    page.emulate_media(media="screen", color_scheme="light")
    assert page.goto(address + PAGES[name]).status == 200
    assert chromium.violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert chromium.violations(page, "color-contrast") == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert logged_in.said == []
    assert all(each.startswith((address, "data:")) for each in logged_in.asked)
    assert "owned" not in page.title()
    assert page.locator("script, img, main form[action^='//']").count() == 0


def test_a_page_is_worked_by_keyboard_alone(logged_in: Any, address: str) -> None:
    page = logged_in.page
    page.set_viewport_size({"width": 1280, "height": 860})
    page.goto(address + PAGES["runs"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    page.fill("input[name=branch]", "rope-halves")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "branch=rope-halves" in page.url
    assert page.locator("tbody tr").count() == 1


def test_paper_has_the_numbers_and_no_forms(logged_in: Any, address: str) -> None:
    page = logged_in.page
    page.goto(address + PAGES["a row over time"])
    page.emulate_media(media="print", color_scheme="light")
    assert page.is_visible(".history svg") and page.is_visible("table")
    for selector in ("form", "header nav", ".pager"):
        assert page.locator(selector).evaluate_all("all => all.every((each) => each.offsetParent === null)"), selector
    page.emulate_media(media="screen")


def test_a_hostile_report_reaches_nothing(logged_in: Any, address: str) -> None:
    """Its own script runs, for it has written the policy that lets it, alone and inside the page of its run."""
    page = logged_in.page
    logged_in.asked.clear()
    page.goto(address + "/projects/hostile/runs/hostile/report")
    alone = _told(page)
    page.goto(address + "/projects/hostile/runs/hostile")
    page.click("details.in-frame summary")
    page.wait_for_selector("iframe")
    for said in (alone, _told(page.frames[1])):
        tries = dict(part.split("=", 1) for part in said.split())
        assert set(tries) == {"cookie", "storage", "parent", "top", "opened", "page", "api", "elsewhere", "frame"}, said
        # Alone it is its own parent: that is its own title, and no other page's.
        assert {name for name, got in tries.items() if got != "no"} <= {"parent"}, said
    reached = [each for each in logged_in.asked if "/projects.json" in each or "/api/" in each or ":9/" in each]
    assert reached == []
    assert logged_in.context.cookies(), "nobody was logged in, so nothing was kept from it"
    logged_in.said.clear()  # what the policy refused is said, and is what this is about


def _told(frame: Any) -> str:
    """What the script of the hostile report ended with, in its title; its policy lets nobody else run one there."""
    said = ""
    for _ in range(200):
        if "frame=" in (said := frame.title()):
            return said
        time.sleep(0.05)
    raise AssertionError(f"it did not end: {said}")


def test_our_own_report_works_where_it_is_shut_in(logged_in: Any, address: str) -> None:
    page = logged_in.page
    logged_in.said.clear()
    page.emulate_media(media="screen")
    page.goto(address + RUN + "/report")
    page.wait_for_selector("html[data-state=interactive]")
    page.click("#strip button >> nth=1")
    page.wait_for_selector(".filter-line:not([hidden])")
    assert logged_in.said == []
