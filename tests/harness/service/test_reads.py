"""Reads over HTTP: who may, what is bounded, and that odd input is refused, never an error of ours."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete

from harness.service.conftest import bearer
from harness.service.uploaded import CASE, CELLS, project, rows, upload
from paritygate.service import queries, tables
from paritygate.service.database import writing


@pytest.fixture
def headers(app: FastAPI) -> dict[str, str]:
    project(app)
    project(app, "beta")
    upload(app, "first", rows(), "main")
    upload(app, "second", rows("semantic"), "feature/x%_y")
    upload(app, "third", None, "main")
    return bearer(app, "read")


def test_projects_runs_rows(app: FastAPI, client: TestClient, headers: dict[str, str]) -> None:
    def get(url: str) -> Any:
        answer = client.get(f"/api/projects{url}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert [(each["name"], each["runs"], each["latest"]) for each in get("")["items"]] == [
        ("alpha", 3, "third"), ("beta", 0, ""),
    ]  # fmt: skip
    first = get("?limit=1")
    assert (len(first["items"]), [each["name"] for each in get(f"?after={first['next']}")["items"]]) == (1, ["beta"])
    wanted = {
        "": ["third", "second", "first"], "?branch=main": ["third", "first"],
        "?platform=cpu": ["third", "second", "first"],
        "?platform=c%25": [], "?platform=gpu": [], "?verdict=fail": ["second"], "?verdict=unjudged": ["third"],
        "?branch=feature/x%25_y": ["second"], "?suite=tiny&branch=main": ["third", "first"], "?suite=ti": [],
        "?commit=%25": [], "?pull_request=7": [],
    }  # fmt: skip
    for query, names in wanted.items():
        assert [each["name"] for each in get(f"/alpha/runs{query}")["items"]] == names, query
    commit = get("/alpha/runs/second")["commit"]
    assert [each["name"] for each in get(f"/alpha/runs?commit={commit[:7]}")["items"]] == ["second"]
    two = get("/alpha/runs?limit=2")
    assert [each["name"] for each in get(f"/alpha/runs?limit=2&after={two['next']}")["items"]] == ["first"]
    assert [get(f"/alpha/runs/{name}")["name"] for name in ("first", "latest", "latest:main")] == [
        "first",
        "third",
        "third",
    ]
    lines = client.get("/api/projects/alpha/runs/second/rows?format=jsonl&mode=chained", headers=headers).text
    found = [json.loads(line) for line in lines.splitlines()]
    assert found == get("/alpha/runs/second/rows?mode=chained&limit=1000")["items"]
    assert {each["mode"] for each in found} == {"chained"}


@pytest.mark.parametrize("goes", ["behind its first rows", "as it ends"])
def test_rows_of_a_run_that_goes_meanwhile_break_off(
    app: FastAPI, headers: dict[str, str], goes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No end of the body: a reader that sees one has all of them."""
    url, service, read = "/api/projects/alpha/runs/second/rows", app.state.service, queries._by_position
    parts: list[int] = []

    def remove() -> None:
        with writing(service.engine).begin() as connection:
            connection.execute(delete(tables.run).where(tables.run.c.name == "second"))

    def by_position(*given: Any) -> Any:
        if goes == "behind its first rows" and len(parts) == 1:
            remove()
        parts.append(len(found := read(*given)))
        if goes == "as it ends" and len(parts) == 2:
            remove()
        return found

    def ends() -> list[bool]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            if sent:
                await asyncio.Event().wait()  # it stays until it is answered
            return {"type": "http.request", "body": b"", "more_body": False}

        named = [(name.lower().encode(), text.encode()) for name, text in {**headers, "Host": "localhost"}.items()]
        asked = {"type": "http", "method": "GET", "path": url, "query_string": b"format=jsonl", "headers": named}
        asyncio.run(app({**asked, "asgi": {"spec_version": "2.3"}}, receive, send))
        assert sent[0]["status"] == 200
        return [not message["more_body"] for message in sent[1:]]

    monkeypatch.setattr(queries, "_STREAMED", len(list(queries.every_row(service, "alpha", "second"))) - 1)
    assert any(ends())
    monkeypatch.setattr(queries, "_by_position", by_position)
    assert not any(ends())
    assert len(parts) == 2


def test_files_are_those_of_a_run_and_a_report_may_do_nothing(
    app: FastAPI, client: TestClient, headers: dict[str, str]
) -> None:
    base = "/api/projects/alpha/runs/first/files"
    folder = app.state.service.config.data / "projects" / "alpha" / "runs" / "first"
    (folder / "report.html").write_text("<script>alert(1)</script>")
    (folder / "secret.txt").write_text("s")
    (folder / "blames.jsonl").symlink_to("secret.txt")
    report = client.get(f"{base}/report.html", headers=headers)
    assert (report.status_code, report.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert "script-src 'unsafe-inline'" not in report.headers["content-security-policy"]
    assert report.headers["x-content-type-options"] == "nosniff"
    whole = client.get(f"{base}/rows.jsonl", headers=headers)
    assert whole.content == (folder / "rows.jsonl").read_bytes()
    part = client.get(f"{base}/rows.jsonl", headers=headers | {"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    for name in ("secret.txt", "blames.jsonl", "drifts.jsonl", "..%2Fproject.json", "%2e%2e", ".lock", "rows.jsonl%00"):
        assert client.get(f"{base}/{name}", headers=headers).status_code == 404, name


ROWS = "/alpha/runs/first/rows"
PLACE = f"case={CASE}&cell={CELLS[0]}&mode=chained&address=norm:out"


ODD = [
    ("/nosuch/runs", 404), ("/%00/runs", 422), ("/UP/runs", 422), ("/local/runs", 404), ("/alpha/runs/no", 404),
    ("/alpha/runs/a%00b", 404), ("/alpha/runs/%C3%A9", 404), ("/alpha/runs/latest:none", 404),
    ("/alpha/runs/latest:%00", 422), ("/alpha/runs?branch=%00", 422), (f"/alpha/runs?branch={'x' * 257}", 422),
    ("/alpha/runs?verdict=good", 422), ("/alpha/runs?commit=%00", 422), ("/alpha/runs?platform=%00", 422),
    ("/alpha/runs?limit=0", 422), ("/alpha/runs?limit=1001", 422), ("/alpha/runs?limit=99999999999999999999", 422),
    ("/alpha/runs?after=-1", 422), ("/alpha/runs?after=9999999999", 422), ("/alpha/runs?after=%00", 422),
    (f"{ROWS}?after=x", 422), (f"{ROWS}?verdict=fail", 422), (f"{ROWS}?order=worst", 422),
    (f"{ROWS}?address=%00", 422), (f"{ROWS}?case=%00", 422), (f"{ROWS}?format=csv", 422),
    (f"{ROWS}?order=share&after=0x1p99999@1", 422), (f"{ROWS}?order=share&after=nan@1", 422),
    (f"{ROWS}?order=share&after=inf@1", 422), (f"{ROWS}?order=share&after=1", 422),
    (f"{ROWS}?address={'*' * 256}", 200), (f"{ROWS}?format=jsonl&address=%00", 422),
    ("/alpha/runs/no/rows?format=jsonl", 404), ("/alpha/history?case=a", 422), (f"/alpha/history?{PLACE}", 200),
    (f"/alpha/history?{PLACE}%00", 422), (f"/alpha/history?{PLACE}&branch=%00", 422),
    ("/alpha/compare?left=first&right=no", 404), ("/alpha/compare?left=first&right=second&status=x", 422),
    ("/alpha/compare?left=first&right=second&after=x", 422), ("/alpha/compare?left=first", 422),
    ("/alpha/runs/first/gate?against=%00", 404), ("/alpha/runs/first/gate?against=branch:%00", 422),
    ("/alpha/runs/third/gate", 422), ("/alpha/baseline?after=x", 422), ("/beta/approvals", 200),
]  # fmt: skip


def test_odd_questions_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    for url, status in ODD:
        answer = client.get(f"/api/projects{url}", headers=headers)
        assert answer.status_code == status, (url, answer.text)


def test_a_token_of_one_project_sees_no_other(app: FastAPI, client: TestClient, headers: dict[str, str]) -> None:
    only = bearer(app, "read", project="beta")
    assert [each["name"] for each in client.get("/api/projects", headers=only).json()["items"]] == ["beta"]
    for url in ("/runs", "/runs/first", ROWS.removeprefix("/alpha"), "/runs/first/files/run.json", f"/history?{PLACE}",
                "/compare?left=first&right=second", "/baseline", "/approvals", "/runs/first/gate"):  # fmt: skip
        assert client.get(f"/api/projects/alpha{url}", headers=only).status_code == 404, url
        assert client.get(f"/api/projects/alpha{url}").status_code == 401, url


def test_a_project_is_made_once_by_who_may(app: FastAPI, client: TestClient) -> None:
    admin, reader = bearer(app, "admin"), bearer(app, "read", "approve")
    new = {"name": "gamma-2"}
    assert client.post("/api/projects", json=new).status_code == 401
    assert client.post("/api/projects", headers=reader, json=new).status_code == 403
    assert client.post("/api/projects", headers=bearer(app, "admin", project="gamma-2"), json=new).status_code == 403
    made = client.post("/api/projects", headers=admin, json=new)
    assert (made.status_code, made.json()["name"], made.json()["runs"]) == (201, "gamma-2", 0)
    assert client.get("/api/projects", headers=reader).json()["items"] == [made.json()]
    assert client.post("/api/projects", headers=admin, json=new).status_code == 409
    for name in ("", "local", "../x", "A", "a" * 65, "a\0"):
        body = json.dumps({"name": name})
        answer = client.post("/api/projects", headers=admin | {"content-type": "application/json"}, content=body)
        assert answer.status_code == 422, name
