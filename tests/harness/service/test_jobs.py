"""Jobs: what may be asked for, and by whom; the list; taking one back; what happens, as a stream."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.service.conftest import bearer
from harness.service.working import JOB, REVISION, ByHand, make_project
from paritygate.service import events, jobs
from paritygate.service.api import events as streams
from paritygate.service.config import ServiceConfig
from paritygate.service.database import writing

AT = "/api/projects/llama/jobs"
HOSTILE = (
    {"suite": "../../etc"},
    {"suite": "--debug"},
    {"suite": "tiny; rm -rf /"},
    {"suite": "no-such"},
    {"suite": "full", "cells": "bf16 x single x cpu:1"},
    {"cases": ["/etc/passwd"]},
    {"cases": ["--help"]},
    {"cases": ["tiny-scout.long,tiny"]},
    {"cases": ["tiny-scout.lon"]},
    {"cells": "$(id)"},
    {"cells": "f64 x single x /dev/null"},
    {"cells": "f63 x single x cpu"},
    {"cells": "bf16 x fsdp16 x v5p:4x4"},
    {"mode": "--fault"},
    {"revision": "main"},
    {"revision": "--upload-pack=x"},
    {"revision": REVISION[:12]},
    {"labels": ["gpu --x"]},
    {"labels": ["../x"]},
    {"branch": "a\u0000b"},
    {"branch": "a\nb"},
    {"candidate": "/srv/checkout"},
)


@pytest.fixture
def submit(app: FastAPI, client: TestClient) -> Any:
    make_project(app, "llama")
    headers = bearer(app, "submit", "read", name="ci")
    return lambda **more: client.post(AT, json={**JOB, **more}, headers=headers)


def test_a_job_is_asked_for_by_names_listed_and_taken_back(app: FastAPI, client: TestClient, submit: Any) -> None:
    for wrong in HOSTILE:
        answer = submit(**wrong)
        assert answer.status_code == 422, (wrong, answer.text)
        assert answer.json()["error"]["what"]
    made = submit(cells="f64,bf16 x single,tp2 x gpu,cpu", cases=["tiny-scout.long"], labels=["h100"], branch="main")
    assert made.status_code == 201
    job = made.json()
    assert (job["state"], job["requested_by"], job["cases"]) == ("queued", "ci", ["tiny-scout.long"])
    cells = {task["labels"][0]: task["cells"] for task in job["tasks"]}
    assert cells == {
        "cpu": ["f64/single/cpu", "f64/tp2/cpu", "bf16/single/cpu", "bf16/tp2/cpu"],
        "gpu": ["f64/single/gpu", "f64/tp2/gpu", "bf16/single/gpu", "bf16/tp2/gpu"],
    }
    assert [task["labels"] for task in job["tasks"]] == [["cpu", "h100"], ["gpu", "h100"]]

    second = submit().json()["number"]
    reader, other = bearer(app, "read", name="r"), bearer(app, "read", "submit", name="o", project="gemma")
    first = client.get(AT, params={"limit": 1}, headers=reader).json()
    assert [each["number"] for each in first["items"]] == [second]
    rest = client.get(AT, params={"after": first["next"]}, headers=reader).json()
    assert ([each["number"] for each in rest["items"]], rest["next"]) == ([job["number"]], "")
    assert client.get(AT, params={"after": "x"}, headers=reader).status_code == 422
    assert client.get(f"{AT}/{job['number']}", headers=reader).json() == job
    assert client.get(f"{AT}/999", headers=reader).status_code == 404
    assert client.get(f"{AT}/{2**63}", headers=reader).status_code == 422
    assert client.get(AT, headers=other).status_code == 404
    assert client.post(AT, json=JOB, headers=reader).status_code == 403
    assert client.delete(f"{AT}/{second}", headers=reader).status_code == 403
    assert client.post(AT, json=JOB).status_code == 401
    assert client.post("/api/projects/gemma/jobs", json=JOB, headers=other).status_code == 404

    headers = bearer(app, "submit", name="ci-2")
    assert client.delete(f"{AT}/{second}", headers=headers).json()["state"] == "cancelled"
    assert client.delete(f"{AT}/{second}", headers=headers).status_code == 409


def test_a_suite_of_a_team_s_own_is_known_by_its_worker(app: FastAPI, client: TestClient, submit: Any) -> None:
    assert submit(suite="own-suite").status_code == 422
    assert ByHand(app, client, "elsewhere", project="other").lease(suites="own-suite") is None
    assert submit(suite="own-suite").status_code == 422
    assert ByHand(app, client).lease(suites="own-suite") is None
    assert submit(suite="own-suite", cases=["own-2.plain"]).status_code == 201
    assert ByHand(app, client, "cpu-1").lease(suites="tiny") is None
    taken = ByHand(app, client, "cpu-2").lease(suites="own-suite tiny")
    assert taken is not None and taken["cases"] == ["own-2.plain"]
    (seen, *_) = client.get("/api/projects/llama/workers", headers=bearer(app, "read")).json()
    assert (seen["name"], seen["revisions"]) == ("cpu-1", {REVISION: ["tiny"]})


def test_only_so_many_jobs_wait(app: FastAPI, submit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    object.__setattr__(app.state.service.config.limits, "queued_jobs", 1)
    assert submit().status_code == 201
    assert submit().status_code == 429


def lines(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Events of a stream: id, kind, data."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "id" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_what_happens_is_told_until_the_job_has_ended(
    app: FastAPI, client: TestClient, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOKS_EVERY_S", 0.01)
    number = submit().json()["number"]
    worker, reader = ByHand(app, client), bearer(app, "read")
    assert worker.lease()
    worker.ask("/heartbeat", {"phase": "replaying", "values": 3, "of": 16})
    worker.ask("/heartbeat", {"phase": "replaying", "values": 4, "of": 16})  # too soon after the other to be told
    assert worker.ask("/fail", {"reason": "no golden: tiny"}).status_code == 204
    url = f"{AT}/{number}/events"
    told = client.get(url, headers=reader)
    assert told.headers["content-type"].startswith("text/event-stream")
    found = lines(told.text)
    assert [kind for _, kind, _ in found] == ["job-requested", "task-leased", "task-progress", "task-failed"]
    assert (found[2][2]["values"], found[3][2]["reason"]) == (3, "no golden: tiny")
    assert told.text.endswith("event: end\ndata: {}\n\n")
    assert lines(client.get(url, headers={**reader, "Last-Event-ID": str(found[1][0])}).text) == found[2:]
    assert lines(client.get(url, params={"after": found[2][0]}, headers=reader).text) == found[3:]
    assert client.get(url, headers={**reader, "Last-Event-ID": str(found[3][0])}).status_code == 204
    assert client.get(f"{AT}/99/events", headers=reader).status_code == 404
    assert client.get("/api/projects/gemma/events", headers=reader).status_code == 404

    object.__setattr__(app.state.service.config.limits, "stream_s", 0.05)
    assert lines(client.get("/api/projects/llama/events", headers=reader).text) == found
    object.__setattr__(app.state.service.config.limits, "streams", 0)
    assert client.get("/api/projects/llama/events", headers=reader).status_code == 429


def test_one_reader_does_not_hold_all_streams(
    app: FastAPI, client: TestClient, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that is open asks for one more, as the same reader and as another."""
    object.__setattr__(app.state.service.config.limits, "reader_streams", 1)
    object.__setattr__(app.state.service.config.limits, "stream_s", 0.05)
    monkeypatch.setattr(streams, "LOOKS_EVERY_S", 0.01)
    submit()
    url, greedy, other = "/api/projects/llama/events", bearer(app, "read", name="greedy"), bearer(app, "read")
    happened, answers = streams._happened, list[Any]()

    def asks(*given: Any) -> Any:
        if not answers:
            answers.append(None)
            answers[:] = [client.get(url, headers=headers) for headers in (greedy, other)]
        return happened(*given)

    monkeypatch.setattr(streams, "_happened", asks)
    assert client.get(url, headers=greedy).status_code == 200
    assert [each.status_code for each in answers] == [429, 200]
    said = answers[0].json()["error"]
    assert (said["what"], said["where"], said["expected"]) == ("too many streams of one reader", "greedy", "at most 1")
    assert client.get(url, headers=greedy).status_code == 200, "that one has ended"
    assert not app.state.opened


def test_old_events_are_forgotten_and_numbers_never_reused(app: FastAPI, config: ServiceConfig, submit: Any) -> None:
    service = app.state.service
    numbers = [submit().json()["number"] for _ in range(3)]
    latest = events.last(service, "llama")
    with writing(service.engine).begin() as connection:
        assert events.forget(connection, before=1e12) == 2
        events.tell(connection, "job cancelled", "llama", numbers[0])
    assert [each.id for each in events.since(service, "llama", after=0)] == [latest, latest + 1]
    assert jobs.has_ended(service, numbers[0]) is False
