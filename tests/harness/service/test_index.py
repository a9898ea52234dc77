"""Run folders into the index: as the gate sees them, once, whole, and the same again from the folders."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from harness.report import synthetic
from harness.service.conftest import bearer
from harness.service.uploaded import CASE, CELLS, arrival, project, reads, rows, upload, write
from paritygate.core.drift import Row, Verdict
from paritygate.core.errors import HarnessError, UsageError
from paritygate.core.run import Run
from paritygate.judge.gate import exit_code, summary
from paritygate.service import index, queries, tables
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.folders import Folders, arrival_of
from paritygate.service.index import add_run, catch_up, rebuild
from paritygate.service.problems import Conflict, Refused, TooLarge
from paritygate.service.queries import RowFilter
from paritygate.service.summaries import Page
from paritygate.store import baseline

RUNS: dict[str, tuple[list[Row] | None, dict[str, object], str]] = {
    "good": (rows(), {}, "pass"),
    "drifts": (rows("semantic"), {}, "fail"),
    "lost-a-worker": (rows(), {"problems": ("a worker died",)}, "incomplete"),
    "drifts-and-lost": (rows("semantic"), {"problems": ("a worker died",)}, "fail"),
    "has-a-gap": (rows(), {"coverage": synthetic.coverage()}, "fail"),
    "empty": ([], {}, "nothing compared"),
    "skipped": ([replace(each, verdict=Verdict.SKIPPED, reason="no gpu") for each in rows()], {}, "nothing compared"),
    "skipped-unsaid": ([replace(each, verdict=Verdict.SKIPPED) for each in rows()[:3]] + rows()[3:], {}, "fail"),
    "not-judged": (None, {}, "unjudged"),
}


def test_a_run_is_listed_with_what_the_gate_says(app: FastAPI) -> None:
    service, to = app.state.service, project(app)
    for name, (judged, fields, verdict) in RUNS.items():
        found = upload(app, name, judged, to=to, **fields)  # type: ignore[arg-type]
        assert (found.name, found.verdict) == (name, verdict)
        assert queries.run(service, to, name) == found
        if judged is None:
            assert (found.exit_code, found.rows) == (2, 0)
            continue
        run = Run.open(Folders(service.config).run(to, name))
        assert found.exit_code == exit_code(judged, run.info.problems, run.coverage().gaps)
        counts = summary(judged)
        expected = (counts.rows, counts.passed, counts.failed, counts.skipped)
        assert (found.rows, found.passed, found.failed, found.skipped) == expected


def test_rows_are_those_of_the_file_and_each_has_its_worst_judgement(app: FastAPI) -> None:
    judged = [replace(each, drift=replace(each.drift, case=CASE)) for each in synthetic.rows("all", layers=2)]
    upload(app, "run", judged, to=project(app))
    found = list(queries.every_row(app.state.service, "alpha", "run"))
    assert [each.position for each in found] == list(range(len(judged)))
    for line, row in zip(found, judged, strict=True):
        drift, worst = row.drift, row.worst_judgement
        assert (line.case, line.cell, line.mode, line.address) == (drift.case, drift.cell, drift.mode, drift.address)
        assert (line.verdict, line.diagnosis) == (row.verdict, row.diagnosis)
        assert (line.accepted, line.digest) == (bool(row.accepted), drift.digest)
        if worst is None:
            assert (line.metric, line.value, line.share) == ("", None, None)
        else:
            said = (line.metric, line.value, line.ratio, line.limit, line.share)
            assert said == (worst.metric, worst.value, worst.ratio, worst.limit, worst.share)


def test_parts_of_a_list_are_the_list(app: FastAPI) -> None:
    judged = [replace(each, judgements=()) if i % 7 == 0 else each for i, each in enumerate(rows("semantic"))]
    upload(app, "run", judged, to=project(app))
    _in_parts(app, judged, "position")
    _in_parts(app, judged, "share")


def _in_parts(app: FastAPI, judged: list[Row], order: queries.Order) -> None:
    whole = queries.rows(app.state.service, "alpha", "run", order=order, page=Page(1000))
    parts, after = [], ""
    while True:
        part = queries.rows(app.state.service, "alpha", "run", order=order, page=Page(9, after))
        parts += part.items
        if not (after := part.next):
            break
    assert (tuple(parts), whole.next) == (whole.items, "")
    assert len(parts) == len(judged)
    if order == "share":
        shares = [each.share for each in parts]
        known = [each for each in shares if each is not None]
        assert known == sorted(known, reverse=True)
        assert shares == [*known, *[None] * (len(shares) - len(known))]


FILTERS: list[tuple[RowFilter, Callable[[Row], bool]]] = [
    (RowFilter(verdict="over_budget"), lambda row: row.verdict == "over_budget"),
    (RowFilter(cell=CELLS[1], mode="chained"), lambda row: row.drift.cell == CELLS[1] and row.drift.mode == "chained"),
    (RowFilter(address="norm:out"), lambda row: row.drift.address == "norm:out"),
    (RowFilter(address="layers.?.attn:in*"), lambda row: ".attn:in" in row.drift.address),
    (RowFilter(address="*q_rope"), lambda row: row.drift.address.endswith("q_rope")),
    (RowFilter(address="*q%rope*"), lambda row: False),
    (RowFilter(address="*q_rop_*"), lambda row: False),
    (RowFilter(address="*\\*"), lambda row: False),
    (RowFilter(case="no such"), lambda row: False),
]


def test_a_filter_leaves_what_it_says(app: FastAPI) -> None:
    judged = rows("semantic")
    upload(app, "run", judged, to=project(app))
    for filter, fits in FILTERS:
        found = queries.rows(app.state.service, "alpha", "run", filter, page=Page(1000))
        assert [each.position for each in found.items] == [i for i, row in enumerate(judged) if fits(row)], filter


def test_runs_are_numbered_as_they_arrive_and_one_that_is_there_is_left(app: FastAPI, tmp_path: Path) -> None:
    project(app)
    first = upload(app, "first", rows())
    second = upload(app, "second", rows("semantic"))
    assert (first.number, second.number) == (1, 2)
    service = app.state.service
    write(tmp_path / "first", rows())
    assert add_run(service, "alpha", tmp_path / "first", arrival(tmp_path / "first", "other")) == first
    assert not (tmp_path / "first").exists()
    write(tmp_path / "first", rows("semantic"))
    with pytest.raises(Conflict, match="run of that name with other content: alpha/first"):
        add_run(service, "alpha", tmp_path / "first", arrival(tmp_path / "first"))
    assert (tmp_path / "first" / "run.json").is_file()
    assert arrival_of(Folders(service.config).run("alpha", "second")).number == 2


BAD_LINES = {
    "no JSON": (lambda text: text[:-9] + "\n", "line is no row"),
    "no object": (lambda text: "[]\n", "line is no row"),
    "not a number": (lambda text: text.replace('"call":0', '"call":NaN'), "NaN is no number"),
    "infinite": (lambda text: text.replace('"ratio":', '"ratio":1e999,"x":'), "inf is no number"),
    "no drift": (lambda text: text.replace('"drift"', '"drif"'), "no key 'drift'"),
    "call is a text": (lambda text: text.replace('"call":0', '"call":"0"'), "expected a whole number"),
    "of no verdict": (lambda text: text.replace('"pass"', '"passed"'), "no words of the judge"),
    "NUL": (lambda text: text.replace('"rope"', '"ro\\u0000pe"'), "holds what is no text"),
    "surrogate": (lambda text: text.replace('"rope"', '"ro\\ud800pe"'), "holds what is no text"),
    "too long": (lambda text: text.replace('"rope"', f'"{"rope" * 99}"'), "address is too long"),
    "too deep": (lambda text: "[" * 100_000 + "\n", "line is no row"),
}


def test_a_line_that_is_no_row_is_named_and_nothing_is_moved(app: FastAPI, tmp_path: Path) -> None:
    service, to = app.state.service, project(app)
    upload(app, "good", rows())
    folder = write(tmp_path / "run", rows()).folder
    first, *others = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    for name, (spoil, words) in BAD_LINES.items():
        (folder / "rows.jsonl").write_text("".join([spoil(first), *others]))
        with pytest.raises(HarnessError) as caught:
            add_run(service, to, folder, arrival(folder))
        assert words in str(caught.value), name
        assert "run/rows.jsonl:1" in str(caught.value), name
        assert (folder / "rows.jsonl").is_file()
    assert [each.name for each in queries.runs(service, to).items] == ["good"]


def test_other_folders_that_are_refused(app: FastAPI, tmp_path: Path) -> None:
    project(app)
    service = app.state.service
    cut = write(tmp_path / "cut", rows()).folder
    (cut / "rows.jsonl").write_text("".join((cut / "rows.jsonl").read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(HarnessError, match=r"rows\.jsonl is not what the judge wrote: cut"):
        add_run(service, "alpha", cut, arrival(cut))
    for name in ("latest", ".hidden", "a b", "x" * 129, "x.json"):
        folder = write(tmp_path / "odd" / name[:50], rows()[:1], id=name).folder
        with pytest.raises(Refused, match="no name for a run"):
            add_run(service, "alpha", folder, arrival(folder))
    long = write(tmp_path / "long", rows()[:1]).folder
    with pytest.raises(Refused, match="too long, or no text: branch"):
        add_run(service, "alpha", long, arrival(long, "b" * 257))
    small = replace(service, config=replace(service.config, limits=replace(service.config.limits, run_rows=50)))
    large = write(tmp_path / "large", rows()).folder
    with pytest.raises(TooLarge, match="run has too many rows: large"):
        add_run(small, "alpha", large, arrival(large))


def test_runs_that_arrive_at_once_are_all_there(app: FastAPI) -> None:
    project(app)
    project(app, "beta")
    judged = rows()
    with ThreadPoolExecutor(4) as pool:
        names = [(f"run-{i}", "alpha" if i % 2 else "beta") for i in range(8)]
        found = list(pool.map(lambda each: upload(app, each[0], judged, to=each[1]), names))
    assert sorted(each.number for each in found) == [1, 1, 2, 2, 3, 3, 4, 4]
    for name, to in names:
        assert len(list(queries.every_row(app.state.service, to, name))) == len(judged)
    with app.state.service.engine.connect() as connection:
        assert len(connection.execute(select(tables.place.c.id)).all()) == 2 * len(judged)


KINDS = ("good", "drifts", "has-a-gap", "not-judged")


def _filled(app: FastAPI) -> dict[str, str]:
    """Two projects: runs of all kinds, an approval, a pin, one that cannot be read. Gives a reader's header."""
    project(app)
    project(app, "beta")
    for name in KINDS:
        judged, fields, _ = RUNS[name]
        upload(app, name, judged, "dev" if name == "has-a-gap" else "main", **fields)  # type: ignore[arg-type]
    upload(app, "elsewhere", rows("semantic"), to="beta")
    folders = Folders(app.state.service.config)
    chosen = f"{CASE}/bf16/*/chained/layers.1.attn:inner.q_rope"
    proposals = baseline.propose(rows("semantic"), chosen, "known", "drifts", folders.baselines("alpha"), "2026-01-02")
    baseline.approve(proposals, folders.baselines("alpha"), "ada", chosen, "2026-01-02T03:04:05Z")
    return bearer(app, "read", "approve")


def test_an_index_made_again_gives_the_same_answers(
    app: FastAPI, client: TestClient, config: ServiceConfig, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    headers = _filled(app)
    assert client.put("/api/projects/alpha/runs/good/pin", headers=headers, json={"reason": "shown"}).status_code == 200
    before = list(reads(client, headers))
    assert len(before) > 40
    service = app.state.service
    with service.engine.connect() as connection:
        kept = [connection.execute(select(each)).all() for each in (tables.token, tables.audit)]
    said: list[str] = []
    assert rebuild(service, said.append) == len(KINDS) + 1
    assert said == ["the index is empty; reading all run folders", f"alpha: {len(KINDS)} runs", "beta: 1 run"]
    assert list(reads(client, headers)) == before
    with service.engine.connect() as connection:
        assert kept == [connection.execute(select(each)).all() for each in (tables.token, tables.audit)]
    assert catch_up(service) == 0

    # With another database altogether: what is not of folders is gone, a token with it.
    other = config.database.replace("service.db", "other.db")
    if other == config.database:
        other = request.getfixturevalue("postgres").database()
    again = create_app(replace(config, database=other))
    with TestClient(again) as anew:
        assert list(reads(anew, bearer(again, "read"))) == before
    again.state.service.engine.dispose()


def test_what_was_missed_is_caught_up(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    project(app)
    project(app, "beta")
    for name in ("one", "two", "three"):
        upload(app, name, rows("none", name))
    upload(app, "elsewhere", rows(), to="beta")
    service = app.state.service
    folders = Folders(service.config)
    shutil.rmtree(folders.run("alpha", "one"))
    shutil.rmtree(folders.project("beta"))
    (folders.run("alpha", "two") / "rows.jsonl").write_text("{}\n")
    moved = folders.run("alpha", "three")
    with service.engine.begin() as connection:
        connection.execute(tables.run.delete().where(tables.run.c.name.in_(["two", "three"])))
    (folders.runs("alpha") / "no-run").mkdir()
    assert catch_up(service) == 4
    found = queries.runs(service, "alpha").items
    assert [(each.name, each.number, each.verdict, each.exit_code) for each in found] == [
        ("three", 3, "pass", 0), ("two", 2, "unreadable", 2),
    ]  # fmt: skip
    assert found[0].content == arrival_of(moved).content
    assert "run alpha/one: its folder is gone" in caplog.text
    assert "run alpha/two cannot be read: line is no row: two/rows.jsonl:1" in caplog.text
    assert "project beta: its folder is gone" in caplog.text
    assert catch_up(service) == 1  # what cannot be read is looked at again
    assert upload(app, "four", rows()).number == 4


def test_a_folder_that_is_mistyped_takes_no_line_from_the_index(app: FastAPI, config: ServiceConfig) -> None:
    service, to = app.state.service, project(app)
    upload(app, "one", rows(), to=to)
    elsewhere = replace(service, config=replace(config, data=config.data.parent / "typo"))
    for read in (catch_up, rebuild):
        with pytest.raises(UsageError, match="folder is not that of this database"):
            read(elsewhere)
    assert queries.run(service, to, "one").name == "one"
    shutil.rmtree(Folders(config).project(to))  # by whoever runs it, and meant
    catch_up(service)
    assert index.counts(service) == {}


def test_a_kill_between_the_folder_and_its_line_leaves_a_run(
    app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(app)
    with monkeypatch.context() as patch:
        patch.setattr(index, "put_run", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upload(app, "killed", rows())
    assert (Folders(app.state.service.config).runs("alpha") / "killed" / "upload.json").is_file()
    assert upload(app, "next", rows("semantic")).number == 2
    write(tmp_path / "killed", rows())
    found = add_run(app.state.service, "alpha", tmp_path / "killed", arrival(tmp_path / "killed"))
    assert (found.name, found.number) == ("killed", 1)
    with monkeypatch.context() as patch:
        patch.setattr(index, "put_run", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upload(app, "again", rows())
    assert catch_up(app.state.service) == 1
    assert queries.run(app.state.service, "alpha", "latest").name == "again"
