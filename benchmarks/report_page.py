"""Draws the report's page in a browser: a picture of every view, light and dark; its size; the time until it answers.

Reads synthetic runs, and one in a folder with --run; writes pages and PNGs into --out. Needs the extra `dev`, Chromium.
With --against FILE a page of an earlier tree is opened in turns with each, so that both see the same machine.
"""

import argparse
import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paritygate.core.run import Run
from paritygate.report.data import ReportData
from paritygate.report.render import render_html

HERE = Path(__file__).parent
SCALES = {  # cells, cases, layers: a case of n layers has 10 + 19 n values in each cell and each of two modes
    "18k": (9, 5, 10),  # 18,000 and 180,000 rows, as the page's cap counts them
    "180k": (30, 15, 10),
    "20k": (12, 8, 5),  # more charts, and fewer sites
}
SIZES = {"desktop": (1360, 900), "phone": (360, 780)}
REPEATS = 11
SETTLED_MS = 700  # a new window draws its own controls for so long, beside the page in it


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TESTS = HERE.parent / "tests" / "harness" / "report"
SYNTHETIC, CHROMIUM = load(TESTS / "synthetic.py"), load(TESTS / "chromium.py")


def synthetic(cells: int, cases: int, layers: int) -> ReportData:
    """A run of so many cells, cases and layers with a fault in it."""
    names, meshes = tuple(f"tiny-scout.{i}" for i in range(cases)), tuple(SYNTHETIC.meshes(cells))
    made = tuple(SYNTHETIC.rows("semantic", layers=layers, cases=names, cells=meshes))
    return ReportData(SYNTHETIC.info(cases=names, cells=meshes), made)


def faulty() -> ReportData:
    """A small run with every verdict, a gap, a finding and changed programs."""
    programs, changes = SYNTHETIC.programs()
    return ReportData(
        SYNTHETIC.info(), tuple(SYNTHETIC.rows("all")), "captured with seed 0", SYNTHETIC.coverage(),
        lint=SYNTHETIC.lint(), programs=programs, program_changes=changes,
    )  # fmt: skip


def passing() -> ReportData:
    return ReportData(SYNTHETIC.info(), tuple(SYNTHETIC.rows("none")))


ROW = "#&row=tiny-scout.long+bf16/single/cpu+chained+layers.1.attn:inner.q_rope"

# View: the address's fragment, and what to scroll to.
VIEWS = {
    "head": ("", ""),
    "divergence": ("", "#divergence"),
    "heat": ("#&metric=share", "#heatmap"),
    "heat-log-kind": ("#&scale=log&group=kind&metric=rel_l2", "#heatmap"),
    "depth": ("", "#depth"),
    "rows": ("", "#table"),
    "rows-filtered": ("#&verdict=over+budget&mode=chained&q=attn:inner&sort=-share", "#table"),
    "row": (ROW, "#table"),
    "site": ("#site-layers.1.attn", "#site-layers\\.1\\.attn"),
    "coverage": ("", "#coverage"),
    "programs": ("", "#programs"),
    "precision": ("", "#precision"),
    "provenance": ("", "#provenance"),
}


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM.executable(), args=CHROMIUM.FLAGS)
        yield browser
        browser.close()


def shoot(browser: Any, path: Path, out: Path, name: str, views: list[str]) -> None:
    """Pictures of the views of one page, on both screens, light and dark."""
    for screen, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            for view in views:
                fragment, target = VIEWS[view]
                page.goto("about:blank")
                page.goto(f"file://{path}{fragment}")
                ready(page)
                if target and page.locator(target).count() == 0:
                    continue
                if target:
                    page.eval_on_selector(target, "element => element.scrollIntoView()")
                page.wait_for_timeout(150)
                page.screenshot(path=out / f"{name}-{view}-{screen}-{scheme}.png")
            page.close()


def ready(page: Any) -> None:
    page.wait_for_selector("html[data-state=interactive]")


ANSWERS = "performance.getEntriesByName('interactive')[0]?.startTime ?? 0"


def measure(browser: Any, paths: list[Path]) -> list[tuple[list[float], list[float]]]:
    """Milliseconds from navigation to the first picture with its handlers attached, of fresh windows: gone, and worked.

    Worked is the processor time of the page's main thread, which hardly depends on what else the machine does. The page
    is asked by the browser's own protocol: a selector that playwright waits for runs a script of its own in the page.
    """
    found: list[tuple[list[float], list[float]]] = [([], []) for _ in paths]
    for _ in range(REPEATS):
        for path, (gone, worked) in zip(paths, found, strict=True):
            page = browser.new_page(viewport={"width": 1360, "height": 900})
            page.wait_for_timeout(SETTLED_MS)
            protocol = page.context.new_cdp_session(page)
            protocol.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(f"file://{path}")
            while not (after := protocol.send("Runtime.evaluate", {"expression": ANSWERS})["result"]["value"]):
                time.sleep(0.05)
            metrics = {each["name"]: each["value"] for each in protocol.send("Performance.getMetrics")["metrics"]}
            gone.append(after)
            worked.append(1e3 * metrics["ThreadTime"])
            page.close()
    return [(sorted(gone), sorted(worked)) for gone, worked in found]


def middle(took: list[float]) -> str:
    return f"{took[len(took) // 2]:.0f} ms ({took[0]:.0f} to {took[-1]:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/report-page"), help="folder of the pages and pictures")
    parser.add_argument("--run", type=Path, help="a run's folder to draw beside the synthetic ones")
    parser.add_argument("--views", nargs="*", default=list(VIEWS), choices=list(VIEWS))
    parser.add_argument("--scales", nargs="*", default=list(SCALES), choices=list(SCALES))
    parser.add_argument("--against", type=Path, action="append", default=[], help="a page to open in turns with each")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    runs = {"fault": faulty(), "pass": passing()}
    if chosen.run:
        runs["run"] = ReportData.of(Run.open(chosen.run))
    with chromium() as browser:
        for name, data in runs.items() if chosen.views else ():
            path = (chosen.out / f"{name}.html").resolve()
            path.write_text(render_html(data))
            shoot(browser, path, chosen.out, name, chosen.views if name != "pass" else ["head", "rows"])
        for name in chosen.scales:
            data, path = synthetic(*SCALES[name]), (chosen.out / f"{name}.html").resolve()
            began = time.perf_counter()
            path.write_text(render_html(data))
            made_s = time.perf_counter() - began
            print(f"{name}: {len(data.rows):,} rows, {path.stat().st_size / 1e6:.2f} MB, made in {made_s:.1f} s")
            paths = [path, *(each.resolve() for each in chosen.against)]
            for each, (gone, worked) in zip(paths, measure(browser, paths), strict=True):
                print(f"  {each.name}: interactive after {middle(gone)}, {middle(worked)} of work", flush=True)
            shoot(browser, path, chosen.out, name, ["heat", "rows"] if chosen.views else [])


if __name__ == "__main__":
    main()
