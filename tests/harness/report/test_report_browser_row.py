"""A row in full in a real browser: its map, histograms, flips and commands, by mouse, by keys, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paritygate.report.render import render_html

HEADS, CHUNK, FACTOR, BROKEN = "layers.0.attn", "layers.1.attn", "layers.2.attn", "layers.3.attn"


@pytest.fixture(scope="module")
def path(planted: ModuleType, synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "report.html"
    path.write_text(render_html(planted.data(synthetic)))
    return path


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Any]:
    """A page that may say nothing in its console, and ask for nothing."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"uncaught {error}"))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    yield page
    page.close()
    assert said == []


def open_site(page: Any, path: Path, site: str) -> Any:
    """The row in full on the page of a site."""
    page.goto("about:blank")
    page.goto(f"file://{path}#site-{site}")
    page.wait_for_selector("html[data-state=interactive]")
    panel = page.locator(f'[id="site-{site}"] .row-panel')
    panel.wait_for()
    return panel


def colours(page: Any, panel: Any, *points: tuple[float, float]) -> list[tuple[int, int, int]]:
    """Of the map at points given as parts of its width and height."""
    panel.locator("canvas.map").wait_for()
    page.wait_for_function("document.querySelector('.site[open] canvas.map').width > 300")
    found = panel.locator("canvas.map").evaluate(
        """(canvas, points) => {
          const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
          const pen = copy.getContext("2d", { willReadFrequently: true });
          pen.drawImage(canvas, 0, 0);
          const pixel = ([x, y]) => pen.getImageData(Math.round(x * copy.width), Math.round(y * copy.height), 1, 1);
          return points.map((point) => [...pixel(point).data]);
        }""",
        [list(point) for point in points],
    )
    return [tuple(pixel[:3]) for pixel in found]


def darkness(colour: tuple[int, int, int]) -> float:
    return 1.0 - sum(colour) / (3 * 255)


def read_out(panel: Any, *keys: str) -> str:
    panel.locator("canvas.map").focus()
    for key in keys:
        panel.page.keyboard.press(key)
    return panel.locator(".readout").inner_text()


def test_a_wrong_head_is_lit_and_named(page: Any, path: Path) -> None:
    panel = open_site(page, path, HEADS)
    assert "f64 differs by 2e-1 at head 4." in panel.inner_text()
    assert "reads head 3 for head 4" in panel.inner_text()
    assert "at head 4 (100% of its square)" in panel.locator(".pairs").inner_text()
    assert "largest golden" in panel.locator(".pairs").inner_text()
    # Across the canvas, in the middle of each of six heads behind the margin on the left.
    width = panel.locator("canvas.map").evaluate("canvas => canvas.getBoundingClientRect().width")
    at = [(74 + (width - 74) * (head + 0.4) / 6) / width for head in range(6)]
    dark = [darkness(colour) for colour in colours(page, panel, *((x, 0.3) for x in at))]
    assert [d > 0.5 for d in dark] == [False, False, False, False, True, False]
    assert "head 4" in panel.locator(".readout").inner_text()
    assert "The worst block" in panel.locator("canvas.map").get_attribute("aria-label")


def test_what_is_off_from_a_chunk_on_is_lit_from_its_edge_on(page: Any, path: Path) -> None:
    panel = open_site(page, path, CHUNK)
    assert "chunks of 8 ↓" in panel.locator(".map-legend").first.inner_text()
    # Down the canvas, in the middle of blocks of two tokens: a margin above, a gap before the second row, a line below.
    height = panel.locator("canvas.map").evaluate("canvas => canvas.getBoundingClientRect().height")
    tall = (height - 34 - 4 - 16) / 38
    at = [(34 + (block + 0.5) * tall + 4 * (block >= 19)) / height for block in (0, 3, 4, 18, 19, 22, 23)]
    dark = [darkness(colour) for colour in colours(page, panel, *((0.4, y) for y in at))]
    assert [d > 0.5 for d in dark] == [False, False, True, True, False, False, True]
    assert read_out(panel, "Home", *["ArrowUp"] * 40).startswith("row 0, tokens 0–1 · channel")  # it ends at the edge
    said = [read_out(panel, "ArrowDown") for _ in range(4)]
    assert [text.split(" · ")[0] for text in said] == [f"row 0, tokens {i}–{i + 1}" for i in (2, 4, 6, 8)]
    off = [float(text.split("off by about ")[1].split("×")[0]) for text in said]
    assert [size > 0.05 for size in off] == [False, False, False, True]


def test_a_map_is_read_by_mouse_and_goes_back_to_the_worst(page: Any, path: Path) -> None:
    panel = open_site(page, path, CHUNK)
    first = panel.locator(".readout").inner_text()
    canvas = panel.locator("canvas.map")
    canvas.hover(position={"x": 80, "y": 40})
    assert panel.locator(".readout").inner_text().startswith("row 0, tokens 0–1 · channel")
    page.mouse.move(1, 1)
    assert panel.locator(".readout").inner_text() == first
    assert first.startswith("worst: ")


def test_a_factor_that_is_missing_is_one_bar_with_its_number(page: Any, path: Path) -> None:
    panel = open_site(page, path, FACTOR)
    assert panel.locator(".bar.peak").count() == 1
    assert panel.locator(".peak-name").inner_html() == "3.46×"
    assert "50% of the elements are 3.464 times the golden." in panel.inner_text()
    panel = open_site(page, path, CHUNK)
    assert panel.locator(".bar.peak").count() == 0
    assert "No one factor stands out." in panel.inner_text()


def test_what_is_not_finite_is_marked(page: Any, path: Path) -> None:
    panel = open_site(page, path, BROKEN)
    assert read_out(panel) == "worst: row 0, tokens 8–9 · channel 3 not finite"
    assert "Not finite in 2 of" in panel.locator(".map-text").inner_text()
    assert panel.locator(".swatch.broken").count() == 1


def test_flips_lie_on_either_side_of_what_is_allowed(page: Any, path: Path) -> None:
    panel = open_site(page, path, "layers.0.moe.router")
    marks = panel.locator(".evidence-flips > svg .flip")
    assert sorted(mark.get_attribute("class") for mark in marks.all()) == [
        "flip excused", "flip follows", "flip refused",
    ]  # fmt: skip
    bound = panel.locator(".evidence-flips .bound").bounding_box()["x"]
    left = {mark.get_attribute("class"): mark.bounding_box()["x"] < bound for mark in marks.all()}
    assert left == {"flip excused": True, "flip refused": False, "flip follows": False}
    lines = panel.locator(".evidence-flips tbody tr").all_inner_texts()
    assert lines[0].split("\t") == ["token 5 of row 0", "1 → 3", "0.2", "0.1", "", "refused"]


def test_a_row_that_passes_has_a_histogram_and_no_map(page: Any, path: Path) -> None:
    panel = open_site(page, path, "embed")
    assert panel.locator("canvas.map").count() == 0
    assert "in roundoffs of float64" in panel.inner_text()


def test_commands_are_copied_or_selected(page: Any, path: Path) -> None:
    panel = open_site(page, path, CHUNK)
    wanted = "paritygate run tiny-scout.long --suite tiny --cells f64/single/cpu --mode isolated"
    wanted += " --fault '{row}' --routing golden"
    assert panel.locator(".commands code").all_inner_texts()[0] == wanted
    assert panel.locator(".commands li").count() == 3
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not from a file')); }")
    panel.get_by_label("copy the command that replays it").click()
    page.wait_for_function("getSelection().toString().length > 0")
    assert page.evaluate("getSelection().toString()") == wanted
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { document.title = text; }; }")
    panel.get_by_label("copy the command that replays it").click()
    page.wait_for_function("document.title.startsWith('paritygate run')")
    assert page.title() == wanted


def test_the_first_divergence_is_drawn_where_it_is_unfolded(page: Any, path: Path) -> None:
    page.goto(f"file://{path}")
    page.wait_for_selector("html[data-state=interactive]")
    first = page.locator("#divergence .row-in-full").first
    page.locator("#divergence details").first.evaluate("details => { details.open = true; }")
    first.locator("canvas.map").wait_for()
    assert first.locator("canvas.map").count() == 1
    assert first.locator("pre").count() == 0


def test_without_a_script_the_map_is_characters(browser: Any, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{path}")
    text = page.locator("#divergence .row-in-full pre").first.text_content()
    assert "heads · head channels" in text
    assert "█" in text
    context.close()


def test_dark_is_the_other_way_round_and_is_drawn_again(page: Any, path: Path) -> None:
    panel = open_site(page, path, CHUNK)
    lit = (0.5, 0.45)
    (light,) = colours(page, panel, lit)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(200)
    (dark,) = colours(page, panel, lit)
    assert darkness(light) > 0.5 > darkness(dark)


@pytest.mark.parametrize("site", [HEADS, FACTOR, "layers.0.moe.router"])
def test_nothing_sticks_out_on_a_phone(page: Any, path: Path, site: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_site(page, path, site)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("site", [HEADS, FACTOR, BROKEN, "layers.0.moe.router"])
def test_a_row_in_full_has_no_violation_that_axe_finds(page: Any, path: Path, site: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    open_site(page, path, site)
    page.wait_for_timeout(100)
    found = Axe().run(page, {"include": [[f'[id="site-{site}"]']]}).response["violations"]
    assert [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]] == []
