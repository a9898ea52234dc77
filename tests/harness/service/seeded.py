"""Runs that never ran, in the folders of a service: a project whose `main` has a row that gets worse, and better."""

import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from harness.report import synthetic
from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.core.run import Run
from paritygate.report.render import write_report
from paritygate.service import gating, jobs, leases
from paritygate.service.app import Service
from paritygate.service.database import writing
from paritygate.service.folders import Arrival, FileHash, Folders
from paritygate.service.index import add_run
from paritygate.service.lines import project_line
from paritygate.service.summaries import RunSummary
from paritygate.service.tokens import Caller

CASE, CELLS, MOVED = "tiny-scout.long", ("f64/single/cpu", "bf16/single/cpu"), ("layers.1.moe", "out")
ADDRESS = "layers.1.moe:out"


def rows(fault: str = "none", moved_x: float = 1.0) -> list[Row]:
    """Of one case in two cells; `moved_x` is what the drift of ADDRESS in bf16, chained, is multiplied by."""
    made = synthetic.rows(fault, layers=2, cases=(CASE,), cells=CELLS)
    return [_moved(row, moved_x) if _is_moved(row) else row for row in made]


def _is_moved(row: Row) -> bool:
    drift = row.drift
    return (drift.site, drift.port) == MOVED and drift.cell == CELLS[1] and drift.mode == "chained"


def _moved(row: Row, by: float) -> Row:
    judged = tuple(
        replace(each, value=each.value * by, ratio=each.ratio * by, ok=each.ratio * by <= each.limit)
        for each in row.judgements
    )
    metrics = {name: value * by if name != "cosine" else value for name, value in row.drift.metrics.items()}
    row = replace(row, drift=replace(row.drift, metrics=metrics))
    if all(each.ok for each in judged):
        return replace(row, judgements=judged)
    return replace(row, verdict=Verdict.OVER_BUDGET, diagnosis=Diagnosis.PRECISION, judgements=judged)


def write_run(folder: Path, made: list[Row], report: str = "", **changes: object) -> Path:
    """A judged run folder; `report` is its page, or `drawn` for the one that it has."""
    folder.mkdir(parents=True)
    info = synthetic.info(**{"id": folder.name, "cases": (CASE,), "cells": CELLS, **changes})
    Run(folder, info).save(info).save_rows(made, baseline_x=1.1)
    if report == "drawn":
        write_report(folder)
    elif report:
        (folder / "report.html").write_text(report)
    return folder


def upload(
    service: Service, project: str, folder: Path, at: float, branch: str = "main", commit: str = "", by: str = "ci"
) -> RunSummary:
    """What an upload ends with."""
    files = {path.name: _hash(path) for path in folder.iterdir()}
    named = commit or sha256(folder.name.encode()).hexdigest()[:40]
    return add_run(service, project, folder, Arrival(branch, named, "", by, at, 0, files))


def create(service: Service, project: str) -> None:
    folders = Folders(service.config)
    folders.create(project)
    with writing(service.engine).begin() as connection:
        project_line(connection, project, folders.info(project).created)


def _hash(path: Path) -> FileHash:
    return FileHash(path.stat().st_size, sha256(path.read_bytes()).hexdigest())


def history(service: Service, project: str, at: Path, runs: int = 9) -> list[RunSummary]:
    """A project whose row gets worse in run 3, is over its budget in 6 and 7, and better in 8; run 5 is of a branch."""
    create(service, project)
    made = []
    for i in range(1, runs + 1):
        moved_x = 0.5 if i < 3 else 0.9 if i < 6 else 3.1 if i < 8 else 0.7
        folder = at / f"202611{i:02d}-030405-tiny"
        write_run(folder, rows("semantic" if i == 5 else "none", moved_x), "drawn" if i == 5 else "")
        arrived = time.time() - (runs - i) * 5 * 3600 - 60
        made.append(upload(service, project, folder, arrived, "rope-halves" if i == 5 else "main"))
    return made


# A name for each field that a run, or who sends it, gives. None is longer than its column.
HOSTILE = {
    "suite": "<img src=x onerror=document.title='owned'>",
    "branch": "\"><script>document.title='owned'</script>",
    "commit": "'\"><svg onload=alert(2)>\u202e",
    "pull_request": "</title><b>1</b>\u2066",
    "by": "<u onclick=alert(3)>ci</u>\n\u200b",
    "case": "</td><script>alert(4)</script>&amp;\u202egnol",
    "cell": "<i>/\"x'/c pu?a=b&c#d%2e",
    "site": "layers.0.{{ 7*7 }}<iframe src=//evil.example>\r\n\u202e",
    "reason": "</p><form action=//evil.example><button>ok</button>",
}
STOLEN = """<!doctype html><html><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{style}'; script-src '{script}';">
<title>report</title><style>{css}</style></head><body><p>a report</p><img src="/projects"><script>{js}</script>
<script>document.title = "the second ran"</script></body></html>"""
ATTACK = """
(async () => {
  const got = [];
  const tries = {
    cookie: () => document.cookie, storage: () => localStorage.length, parent: () => parent.document.title,
    top: () => top.document.cookie, opened: () => { const w = open("/projects"); if (!w) throw 1; return "window"; },
    page: async () => (await fetch("/projects.json", {credentials: "include"})).status,
    api: async () => (await fetch("/api/projects", {credentials: "include"})).status,
    elsewhere: async () => (await fetch("http://127.0.0.1:9/", {mode: "no-cors"})).type,
    frame: async () => { const f = document.createElement("iframe"); f.src = "/projects"; document.body.append(f);
      await new Promise((done) => setTimeout(done, 200)); return f.contentDocument.title; },
  };
  for (const [name, attempt] of Object.entries(tries)) {
    try { got.push(`${name}=${await attempt()}`.replace(/ /g, "_")); } catch (reason) { got.push(`${name}=no`); }
  }
  document.title = got.join(" ");
})();
"""


def forged() -> str:
    """A report that somebody wrote by hand: it lets its own script in, as ours does."""
    css = "p { color: red }"

    def said(text: str) -> str:
        return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()

    return STOLEN.format(css=css, js=ATTACK, style=said(css), script=said(ATTACK))


def hostile(service: Service, project: str, at: Path) -> RunSummary:
    """A run of which every name is markup."""
    create(service, project)
    case, cell, site = HOSTILE["case"], HOSTILE["cell"], HOSTILE["site"]

    def renamed(row: Row) -> Row:
        drift = replace(row.drift, case=case, cell=cell, site=f"{site}{row.drift.site}", detail=HOSTILE["reason"])
        return replace(row, drift=drift, reason=HOSTILE["reason"], origin=row.origin and f"{site}:out")

    made = [renamed(row) for row in synthetic.rows("semantic", layers=2, cases=(CASE,), cells=CELLS[1:])]
    folder = write_run(at / "hostile", made, forged(), suite=HOSTILE["suite"], cases=(case,), cells=(cell,))
    files = {path.name: _hash(path) for path in folder.iterdir()}
    branch, commit, pull_request, by = (HOSTILE[name] for name in ("branch", "commit", "pull_request", "by"))
    return add_run(service, project, folder, Arrival(branch, commit, pull_request, by, time.time(), 0, files))


REVISION = "0123456789abcdef0123456789abcdef01234567"


def work(service: Service, project: str) -> None:
    """A job that is done by half, one that failed, one that was taken back, one that waits; two workers."""
    asker, hand = Caller("ada", frozenset({"submit"})), Caller("gpu-host", frozenset({"work"}))
    offer = leases.Offer("h100-1", ("cpu", "gpu", "h100"), {REVISION: ("tiny",)}, {"jax": "0.10.2", "python": "3.11"})

    def ask(cells: str, *cases: str) -> int:
        asked = jobs.Asked("tiny", cells, cases, "chained", REVISION, "main")
        return jobs.request(service, asker, project, asked).number

    ask("f32,bf16 x single x cpu")
    failed = leases.lease(service, hand, offer)
    assert failed
    leases.fail(service, hand, failed.task, failed.lease, "RESOURCE_EXHAUSTED: <b>out of memory</b>")
    jobs.cancel(service, asker, project, ask("f16"))
    ask("f64,bf16 x single,tp4 x gpu", CASE)
    held = leases.lease(service, hand, offer)
    assert held
    said = {"phase": "replay", "cell": "bf16/tp4/gpu", "case": CASE, "values": 260, "of": 400}
    leases.heartbeat(service, hand, held.task, held.lease, said)
    ask("bf16 x tp4 x tpu")


def accept(service: Service, project: str, run: str) -> None:
    """The row that moved, as it is in a run."""
    reason = "router logits are rounded once more since #412"
    gating.approve(service, Caller("ada", frozenset({"approve"})), project, run, f"*/bf16/*/{ADDRESS}", reason)
