"""The gate and the approvals of a project: the same answers as on a machine with that baseline, and no others."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.uploaded import CASE, CELLS, project, rows, upload, write
from paritygate.cli.main import main
from paritygate.core.budget import Accepted
from paritygate.core.drift import Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.judge.compare import compare
from paritygate.judge.rebase import Key, rebase
from paritygate.service import gating, history, queries, tables
from paritygate.service.folders import Folders
from paritygate.service.problems import NotFound
from paritygate.service.summaries import Page
from paritygate.service.tokens import Caller
from paritygate.store import baseline

ADA = Caller("ada", frozenset({"approve"}))
GLOB = f"{CASE}/bf16/*/chained/*"


def accept(folder: Path, judged: list[Row], select: str = GLOB, times: float = 1.0) -> dict[Key, Accepted]:
    """A baseline of what rows are, or of a part of it."""
    scaled = [
        replace(row, drift=replace(row.drift, metrics={k: v * times for k, v in row.drift.metrics.items()}))
        for row in judged
    ]
    proposals = baseline.propose(scaled, select, "known", "earlier", folder, "2026-01-02")
    baseline.approve(proposals, folder, "ada", select, "2026-01-02T03:04:05Z")
    return baseline.read_baseline(folder)


def everything() -> list[Row]:
    """Rows of every verdict, and of none of them where no number was compared."""
    found = rows("semantic")
    others = [Verdict.NONFINITE, Verdict.MISMATCH, Verdict.MISSING, Verdict.ERROR, Verdict.SKIPPED]
    for i, verdict in enumerate(others):
        bare = replace(found[i].drift, metrics={}, digest="", problem=str(verdict))
        found[i] = Row(bare, verdict, reason="said" if verdict is Verdict.SKIPPED else "")
    return found


RUNS: dict[str, tuple[list[Row] | None, dict[str, Any]]] = {
    "good": (rows(), {}),
    "drifts": (rows("semantic"), {}),
    "everything": (everything(), {}),
    "gap": (rows(), {"coverage": synthetic.coverage()}),
    "lost": (rows(), {"problems": ("a worker died",)}),
    "nothing": ([], {}),
}


@pytest.mark.parametrize("times", [1.0, 0.5], ids=["accepted", "worse than accepted"])
def test_the_answer_is_that_of_the_gate_on_a_machine(
    app: FastAPI, capsys: pytest.CaptureFixture[str], times: float
) -> None:
    service, to = app.state.service, project(app)
    config = service.config
    lines = accept(config.golden / "baselines", rows("semantic"), times=times)
    accept(Folders(config).baselines(to), rows("semantic"), times=times)
    verdicts = set()
    for name, (judged, fields) in RUNS.items():
        assert judged is not None
        info = write(config.data / "plain" / name, judged, **fields).info
        by_baseline = rebase(judged, lines, info)
        write(config.runs / name, by_baseline, **fields)
        environ = {"PARITYGATE_RUNS": str(config.runs), "PARITYGATE_GOLDEN": str(config.golden)}
        capsys.readouterr()
        code = main(["gate", name, "--json"], environ)
        there = json.loads(capsys.readouterr().out)
        for run, uploaded in ((name, by_baseline), (f"{name}-judged-without", judged)):
            upload(app, run, uploaded, **fields)
            here = gating.gate(service, to, run)
            assert here.exit_code == code == there["exit_code"], run
            assert (here.budget.words, here.ratchet.words) == (
                there["gates"]["budget"]["words"], there["gates"]["ratchet"]["words"],
            )  # fmt: skip
            assert here.counts == there["summary"]["verdicts"]
            assert (here.against, here.statuses) == (there["compared"]["against"], there["compared"]["counts"])
            assert [each.status for each in here.changes] == [
                each["status"] for each in there["compared"]["changes"][: gating.SHOWN]
            ]
            verdicts |= here.counts.keys()
    assert verdicts >= {"pass", "nonfinite", "mismatch", "missing", "error", "skipped"} | (
        {"over_budget"} if times == 1.0 else {"regressed"}
    )


def test_a_run_that_is_not_judged_or_not_there_is_refused(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    upload(app, "unjudged", None)
    with pytest.raises(UsageError, match="run is not judged: unjudged"):
        gating.gate(service, to, "unjudged")
    with pytest.raises(NotFound, match="no such run"):
        gating.gate(service, to, "other")
    upload(app, "old", rows("semantic"), baseline_x=0.0)
    assert gating.gate(service, to, "old").exit_code == 1
    accept(Folders(service.config).baselines(to), rows("semantic"))
    with pytest.raises(UsageError, match="run does not say how much more than what was accepted may be: old"):
        gating.gate(service, to, "old")


def test_what_a_run_is_compared_with_has_no_say_in_the_exit_code(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    upload(app, "before", rows())
    upload(app, "elsewhere", rows("semantic"), "dev")
    upload(app, "not-judged", None)
    upload(app, "now", rows("none", "other bits"))
    for against, said in (
        ("branch:main", "run before"),
        ("elsewhere", "run elsewhere"),
        ("latest:dev", "run elsewhere"),
    ):
        found = gating.gate(service, to, "now", against)
        assert (found.exit_code, found.against) == (0, said)
    assert gating.gate(service, to, "now", "branch:main").statuses == {"equal": 26, "bit-identical": 26}
    with pytest.raises(NotFound, match="no earlier run of that branch"):
        gating.gate(service, to, "before", "branch:main")


def test_two_runs_beside_each_other_are_as_compare_has_them(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    left, right = rows(), [*everything()[3:], *synthetic.rows(cases=["new.case"], cells=CELLS[:1], layers=1)[:4]]
    upload(app, "left", left), upload(app, "right", right)
    wanted = compare(left, right)
    found = history.compare(service, to, "left", "right", page=Page(1000))
    changed = [each for each in wanted if each.status not in ("equal", "bit-identical")]
    assert [(each.status, each.address) for each in found.items] == [
        (str(each.status), each.row.drift.address) for each in changed
    ]
    counts = {status: sum(each.status == status for each in wanted) for status in {each.status for each in wanted}}
    assert found.counts == counts
    assert {"broken", "gone", "new", "bit-identical"} <= set(found.counts)
    parts = history.compare(service, to, "left", "right", page=Page(7))
    again = history.compare(service, to, "left", "right", page=Page(7, parts.next))
    assert parts.items + again.items == found.items[:14]
    same = history.compare(service, to, "left", "right", "bit-identical", Page(1000))
    assert len(same.items) == counts["bit-identical"]


def test_a_row_is_followed_across_runs_and_says_where_it_moved(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    for name, fault, branch in (("a", "none", "main"), ("b", "none", "main"), ("x", "semantic", "dev"),
                                ("c", "semantic", "main"), ("d", "none", "main")):  # fmt: skip
        upload(app, name, rows(fault), branch)
    asked = (CASE, CELLS[1], "chained", "layers.1.attn:inner.q_rope")
    found = history.history(service, to, *asked, branch="main")
    assert [(each.run, each.number) for each in found.points] == [("a", 1), ("b", 2), ("c", 4), ("d", 5)]
    assert [(each.run, each.before, each.status) for each in found.steps] == [("c", "b", "broken"), ("d", "c", "fixed")]
    assert (found.steps[0].share_before, found.steps[0].share) == (found.points[1].share, found.points[2].share)
    short = history.history(service, to, *asked, branch="main", limit=2)
    assert ([each.run for each in short.points], short.more) == (["c", "d"], True)
    assert [each.run for each in history.history(service, to, *asked).points] == ["a", "b", "x", "c", "d"]


def test_an_approval_is_in_the_callers_name_and_lets_the_gate_pass(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    upload(app, "drifts", rows("semantic"))
    with pytest.raises(UsageError, match="4 of 52 rows compute something else"):
        gating.approve(service, ADA, to, "drifts", "*", "known")
    seen = gating.approve(service, ADA, to, "latest", "*", "known", "accepted", "dry run")
    assert (len(seen.proposals), seen.approval) == (52, None)
    assert gating.accepted_lines(service, to) == []
    assert gating.gate(service, to, "drifts").exit_code == 1
    done = gating.approve(service, ADA, to, "latest", "*", " known ", "accepted")
    assert done.approval is not None
    assert (done.approval.who, done.approval.run, done.approval.rows, done.approval.reason) == (
        "ada", "drifts", 52, "known",
    )  # fmt: skip
    assert gating.gate(service, to, "drifts").exit_code == 0
    assert gating.approvals(service, to) == [done.approval]
    assert baseline.unvouched(Folders(service.config).baselines(to)) == []
    with service.engine.connect() as connection:
        noted = connection.execute(select(tables.audit).where(tables.audit.c.action == "approve")).mappings().all()
    assert [(each["who"], each["project"], each["target"], each["detail"]["rows"]) for each in noted] == [
        ("ada", to, "drifts", 52)
    ]


@pytest.mark.parametrize(
    ("select", "reason", "words"),
    [
        (GLOB, " \n", "a baseline needs a reason"),
        ("no/such/row", "known", "no row matches"),
        ("*", "known", "rows compute something else"),
    ],
)
def test_what_is_refused_writes_nothing(app: FastAPI, select: str, reason: str, words: str) -> None:
    service, to = app.state.service, project(app)
    upload(app, "drifts", rows("semantic"))
    upload(app, "planted", rows("semantic"), fault="norm-eps")
    with pytest.raises(UsageError, match=words):
        gating.approve(service, ADA, to, "drifts", select, reason)
    with pytest.raises(UsageError, match="run is of a candidate with a planted fault: planted"):
        gating.approve(service, ADA, to, "planted", GLOB, "known", "accepted")
    _nothing_written(app, to)


def _nothing_written(app: FastAPI, to: str) -> None:
    service = app.state.service
    assert list(Folders(service.config).baselines(to).iterdir()) == []
    with service.engine.connect() as connection:
        assert connection.execute(select(tables.audit)).first() is None


def test_a_semantic_row_that_only_the_repository_accepts_is_semantic_here(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    lines = {line.key: line for line in (each.after for each in _proposed(rows("semantic")))}
    upload(app, "accepted-there", rebase(rows("semantic"), lines, synthetic.info(baseline_x=1.25)))
    assert queries.run(service, to, "latest").verdict == "pass"
    assert gating.gate(service, to, "latest").exit_code == 1
    with pytest.raises(UsageError, match="rows compute something else"):
        gating.approve(service, ADA, to, "latest", "*", "known")


def _proposed(judged: list[Row]) -> list[Any]:
    return baseline.propose(judged, "*", "known", "earlier", Path("none"), "2026-01-02")


def test_two_approvals_at_once_lose_nothing(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    upload(app, "drifts", rows("semantic"))
    names = sorted({row.drift.address for row in rows("semantic") if row.drift.cell == CELLS[1]})[:8]
    globs = [f"{CASE}/bf16/single/cpu/chained/{name}" for name in names]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda glob: gating.approve(service, ADA, to, "drifts", glob, glob, "accepted"), globs))
    lines = gating.accepted_lines(service, to)
    assert sorted(line.reason for line in lines) == sorted(globs)
    assert len(gating.approvals(service, to)) == 8
    with service.engine.connect() as connection:
        assert len(connection.execute(select(tables.audit)).all()) == 8


def test_over_http_it_is_the_same_and_only_for_those_who_may(app: FastAPI, client: TestClient) -> None:
    service, to = app.state.service, project(app)
    upload(app, "drifts", rows("semantic"))
    base = f"/api/projects/{to}/runs/drifts"
    asked = {"select": "*", "reason": "known", "semantic": "accepted"}
    reader, approver = bearer(app, "read"), bearer(app, "read", "approve", name="ada")
    assert client.get(f"{base}/gate").status_code == 401
    assert client.get(f"{base}/gate", headers=reader).json()["exit_code"] == 1
    assert client.post(f"{base}/approve", headers=reader, json=asked).status_code == 403
    elsewhere = bearer(app, "approve", "read", project="beta")
    assert client.post(f"{base}/approve", headers=elsewhere, json=asked).status_code == 404
    refused = client.post(f"{base}/approve", headers=approver, json=asked | {"semantic": "refused"})
    assert (refused.status_code, refused.json()["error"]["what"]) == (422, "4 of 52 rows compute something else")
    seen = client.post(f"{base}/approve", headers=approver, json=asked | {"dry_run": True}).json()
    assert (len(seen["proposals"]), seen["approval"]) == (52, None)
    done = client.post(f"{base}/approve", headers=approver, json=asked).json()
    assert done["approval"]["who"] == "ada"
    assert client.get(f"{base}/gate", headers=reader).json()["exit_code"] == 0
    first = client.get(f"/api/projects/{to}/baseline?limit=40", headers=reader).json()
    rest = client.get(f"/api/projects/{to}/baseline?limit=40&after={first['next']}", headers=reader).json()
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (40, 12, "")
    assert client.get(f"/api/projects/{to}/approvals", headers=reader).json()["items"] == [done["approval"]]
    assert gating.gate(service, to, "drifts").ratchet.ok
