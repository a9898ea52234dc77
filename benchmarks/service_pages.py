"""Draws the pages of the service in a browser: a picture of each, on both screens, light and dark.

Serves runs that never ran, on a free port of this machine, from a folder in --out. Needs the extra `dev`, Chromium.
"""

import argparse
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from report_page import SIZES, chromium

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from harness.service import seeded  # pyright: ignore[reportMissingImports]
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.words import url

PROJECT = "jax-llama4"
RUN = f"/projects/{PROJECT}/runs/202611{{:02d}}-030405-tiny"
ROW = {"case": seeded.CASE, "cell": seeded.CELLS[1], "mode": "chained", "address": seeded.ADDRESS, "branch": "main"}
COMPARED = {"left": "20261104-030405-tiny", "right": "20261105-030405-tiny"}
APPROVED = {"select": "*/bf16/*/layers.*.moe:out", "reason": "router logits are rounded once more since #412"}
PAGES = {
    "projects": "/projects",
    "runs": f"/projects/{PROJECT}/runs",
    "run": RUN.format(5),
    "run-pass": RUN.format(24),
    "rows": RUN.format(5) + "/rows?order=share",
    "history": url("projects", PROJECT, "history", **ROW),
    "compare": url("projects", PROJECT, "compare", **COMPARED),
    "approve": RUN.format(6) + "/approve" + url(**APPROVED).removeprefix("/"),
    "baselines": f"/projects/{PROJECT}/baselines",
    "jobs": f"/projects/{PROJECT}/jobs",
    "job": f"/projects/{PROJECT}/jobs/3",
    "report": RUN.format(5) + "/report",
    "audit": "/audit",
    "empty": "/projects/vision-port/runs",
    "login": "/login",
    "refused": "/projects/nobody/runs",
}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A service with a team's month in it, and its address."""
    shutil.rmtree(folder, ignore_errors=True)
    app = create_app(ServiceConfig.beside(folder / "data", folder / "runs", folder / "golden", unnamed="loopback"))
    service = app.state.service
    made = seeded.history(service, PROJECT, folder, runs=24)
    seeded.accept(service, PROJECT, made[6].name)
    seeded.work(service, PROJECT)
    seeded.create(service, "vision-port")
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def shoot(browser: Any, address: str, out: Path, names: list[str]) -> None:
    """The whole of each page; of a report what is seen first."""
    for screen, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            for name in names:
                page.goto(address + PAGES[name])
                page.screenshot(path=out / f"{name}-{screen}-{scheme}.png", full_page=name != "report")
            page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/service-pages"), help="folder of the pictures")
    parser.add_argument("--views", nargs="*", default=list(PAGES), choices=list(PAGES))
    chosen = parser.parse_args()
    out = chosen.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with serving(out / "data") as address, chromium() as browser:
        shoot(browser, address, out, chosen.views)
    print(f"{len(list(out.glob('*.png')))} pictures in {chosen.out}")


if __name__ == "__main__":
    main()
