"""Makes `reports/sample`: a run of the candidate with a planted fault, its report, and the picture of it in the README.

Writes nothing unless the run says what it must. Needs the extra `dev`, and Chromium for the picture.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "reports" / "sample"
FAULT, CELLS = "kv-heads-tiled", "f64,bf16"
# What `report`, `locate`, `show` and `compare` read.
KEPT = ("run", "coverage", "lint", "programs"), ("rows", "explanations", "blames")
ROW = "#&row=tiny-scout.long+bf16/single/cpu+isolated+layers.0.attn:inner.probs"


def run(runs: Path) -> Path:
    """The folder of a run with the fault planted. What it records of paths begins at the repository's root."""
    # Without the cache of compiled programs: it lies in somebody's home.
    command = [sys.executable, "-m", "paritygate", "run", "--fault", FAULT, "--cells", CELLS, "--no-compile-cache"]
    environ = os.environ | {"PARITYGATE_RUNS": str(runs)}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode != 1:
        sys.exit(f"the planted fault was to be found, with exit code 1, not {done.returncode}\n{done.stdout}")
    (folder,) = runs.iterdir()
    info = folder / "run.json"
    info.write_text(info.read_text().replace(f"{ROOT}/", ""))
    return folder


def keep(folder: Path) -> None:
    """What is kept of the run, in the place of what is there."""
    shutil.rmtree(SAMPLE, ignore_errors=True)
    SAMPLE.mkdir()
    for names, kind in zip(KEPT, ("json", "jsonl"), strict=True):
        for name in names:
            if (found := folder / f"{name}.{kind}").is_file():
                shutil.copy(found, SAMPLE)


def render() -> None:
    """The report of what is kept, and its picture: a terminal has `paritygate report reports/sample` for the first."""
    subprocess.run([sys.executable, "-m", "paritygate", "report", str(SAMPLE)], cwd=ROOT, check=True)
    sys.path.insert(0, str(ROOT / "tests" / "harness" / "report"))
    from chromium import FLAGS, executable

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1360, "height": 880}, color_scheme="light")
        page.goto(f"file://{SAMPLE / 'report.html'}{ROW}")
        page.wait_for_selector("html[data-state=interactive]")
        page.wait_for_timeout(300)
        page.screenshot(path=SAMPLE / "report.png")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="only draw the page and the picture of the run again")
    if not parser.parse_args().page:
        with tempfile.TemporaryDirectory() as runs:
            keep(run(Path(runs)))
    render()


if __name__ == "__main__":
    main()
