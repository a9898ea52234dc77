"""The client: what it reads, how it goes on where a connection broke, and what it never does with a token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.report import synthetic
from harness.service.conftest import bearer
from paritygate.client import Client
from paritygate.client.jobs import Jobs
from paritygate.client.transport import Transport
from paritygate.core.errors import HarnessError
from paritygate.service.config import ServiceConfig
from paritygate.service.folders import Folders

RUN = "20260102T030405Z-tiny-abcd"
TOKEN = "pgt_" + "s" * 43
Handler = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite is enough: the client does not know which it is."""
    return f"sqlite:///{tmp_path / 'service.db'}"


def over(client: TestClient) -> Handler:
    """To the service in this process, as bytes."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        answer = client.request(request.method, request.url.raw_path.decode(), content=request.read(), headers=headers)
        return httpx2.Response(
            answer.status_code, headers={"content-type": answer.headers["content-type"]}, content=answer.content
        )

    return handle


def asking(handler: Handler, token: str = TOKEN, url: str = "http://localhost") -> Client:
    return Client(Transport(url, token, pause=lambda s: None, transport=httpx2.MockTransport(handler)))


@pytest.fixture
def token(app: FastAPI, config: ServiceConfig) -> str:
    Folders(config).create("llama")
    return bearer(app, "read", "submit", "approve")["Authorization"].split()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return synthetic.write_run(tmp_path / RUN, fault="semantic", layers=2).folder


def test_it_reads_what_it_sent(client: TestClient, token: str, folder: Path) -> None:
    with asking(over(client), token) as service:
        sent = service.upload("llama", folder, branch="main", commit="c0ffee")
        assert [each["name"] for each in service.runs("llama", branch="main")] == [RUN]
        assert list(service.runs("llama", branch="other")) == []
        assert [each["name"] for each in service.projects()] == ["llama"]
        rows = service.rows("llama", "latest:main")
        assert (len(rows), service.run("llama")) == (sent["rows"], sent)
        failed = service.rows("llama", RUN, verdict="over_budget")
        assert 0 < len(failed) < len(rows)
        place = {name: failed.iloc[0][name] for name in ("case", "cell", "mode", "address")}
        assert [each["run"] for each in service.history("llama", **place)["points"]] == [RUN]
        answer = service.gate("llama", RUN)
        assert (answer["exit_code"], answer["verdict"], answer["budget"]["ok"]) == (1, "fail", False)
        row = f"{place['case']}/{place['cell']}/{place['mode']}/{place['address']}"
        shown = service.approve("llama", RUN, row, "a test", semantic="accepted")
        assert (len(shown["proposals"]), shown["approval"]) == (1, None)
        assert service.approve("llama", RUN, row, "a test", "accepted", "write")["approval"]["rows"] == 1


@pytest.mark.parametrize("lost", ["before", "behind"])
def test_an_upload_survives_connections_that_break(client: TestClient, token: str, folder: Path, lost: str) -> None:
    """Each first time that it asks for something: `before` anything came, or `behind` all of it, the answer only."""
    asked, through = set[str](), over(client)

    def breaking(request: httpx2.Request) -> httpx2.Response:
        request.read()
        first = request.url.path not in asked
        asked.add(request.url.path)
        if first and lost == "before":
            raise httpx2.ConnectError("refused")
        answer = through(request)
        if first:
            raise httpx2.ReadError("reset")
        return answer

    with asking(breaking, token) as service:
        assert service.upload("llama", folder)["number"] == 1
        assert service.run("llama")["name"] == RUN


def test_it_gives_up_where_nothing_new_comes(token: str, folder: Path) -> None:
    asked = []

    def dead(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        raise httpx2.ConnectError(f"refused {TOKEN}")

    with asking(dead) as service, pytest.raises(HarnessError, match="no service answers: http://localhost") as raised:
        service.upload("llama", folder)
    assert TOKEN not in str(raised.value) and len(asked) == 5  # as often as any request


def test_it_gives_up_a_connection_that_broke_for_good_and_says_that_it_waits(token: str, folder: Path) -> None:
    asked, said = [], []

    def broken(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        if request.method == "PUT":
            raise httpx2.ReadError("reset")
        files = [{"name": path.name, "have": 0} for path in folder.iterdir()]
        return httpx2.Response(200, json={"upload": "u", "there": None, "files": files})

    with asking(broken) as service, pytest.raises(HarnessError, match="no service answers"):
        service.upload("llama", folder, tell=said.append)
    assert (asked.count("PUT"), sum("goes on in" in line for line in said)) == (6, 5)


def answers(status: int, content: Any, **headers: str) -> Handler:
    return lambda request: httpx2.Response(status, json=content, headers=headers)


def refusal(what: str) -> Any:
    return {"error": {"what": what, "where": "x", "expected": "", "got": "", "try": ""}}


def damaged(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.DecodingError("not packed as it says")


@pytest.mark.parametrize(
    ("handler", "text", "code"),
    [
        (answers(401, refusal("a token is needed")), "a token is needed: x\n  try       a token of this service", 2),
        (answers(403, refusal("not allowed")), "not allowed: x\n  try       a token with that scope", 2),
        (answers(404, refusal("no such project")), "no such project: x", 2),
        (answers(500, refusal("the service failed")), "the service failed", 4),
        (lambda request: httpx2.Response(200, html="<h1>Log in</h1>"), "got       HTTP 200, text/html", 2),
        (answers(200, "welcome"), "no paritygate service answers there", 2),
        (damaged, "no service answers: http://localhost\n  got       DecodingError", 4),
        (answers(404, {"detail": "Not Found"}), "no paritygate service answers there", 2),
        (answers(302, {}, location="https://evil.example/"), "no paritygate service answers there", 2),
    ],
)
def test_how_it_fails(handler: Handler, text: str, code: int) -> None:
    with asking(handler) as service, pytest.raises(HarnessError) as raised:
        service.run("llama")
    assert text in str(raised.value) and raised.value.exit_code == code
    assert TOKEN not in str(raised.value) and TOKEN not in repr(service)


def test_a_stream_is_asked_for_again_where_the_service_is_away_for_a_while() -> None:
    event = 'id: 7\nevent: task-done\ndata: {"task": 1}\n\nevent: end\ndata: {}\n\n'
    streams = {"content-type": "text/event-stream"}
    said = [answers(503, refusal("the database does not answer now"))] * 2
    said += [lambda request: httpx2.Response(200, text=event, headers=streams)]
    transport = httpx2.MockTransport(lambda request: said.pop(0)(request))
    jobs = Jobs(Transport("http://localhost", pause=lambda s: None, transport=transport), "llama")
    assert list(jobs.events(1)) == [{"id": 7, "task": 1}]


def test_a_redirect_is_not_followed() -> None:
    asked = []

    def elsewhere(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(307, headers={"location": "https://evil.example/"})

    with asking(elsewhere) as service, pytest.raises(HarnessError):
        service.run("llama")
    assert asked == ["http://localhost/api/projects/llama/runs/latest"]


@pytest.mark.parametrize(
    ("url", "token", "what"),
    [
        ("http://parity.example.com", TOKEN, "the token would be sent unencrypted"),
        ("http://localhost.evil.example", TOKEN, "the token would be sent unencrypted"),
        ("http://127.0.0.1.evil.example", TOKEN, "the token would be sent unencrypted"),
        ("https://name:password@parity.example.com", TOKEN, "address with a password"),
        ("http://[2001:db8::1]:8321", TOKEN, "the token would be sent unencrypted"),
        ("ftp://parity.example.com", "", "no address of a service"),
        ("http://[::1", "", "no address of a service"),
        ("https://name:password@parity.example.com:99999", "", "no address of a service"),
        ("https://parity.example.com", "pgt_x\r\nEvil: y", "no token"),
    ],
)
def test_where_a_token_does_not_go(url: str, token: str, what: str) -> None:
    with pytest.raises(HarnessError) as raised:
        Client(url, token)
    assert raised.value.what == what
    assert "password" not in raised.value.where and "Evil" not in str(raised.value)
    Client("http://parity.example.com", TOKEN, trust="any-network").close()
    Client("http://[::1]:8321", TOKEN).close()


def test_rows_of_the_last_run_are_those_of_one() -> None:
    """Another may arrive between two pages."""
    asked = []

    def pages(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        following = "" if "after" in request.url.params else "1"
        return httpx2.Response(200, json={"name": "last", "items": [{"case": "a"}], "next": following})

    with asking(pages) as service:
        assert len(service.rows("llama", "latest:main")) == 2
    runs = "/api/projects/llama/runs"
    assert asked == [f"{runs}/latest:main", f"{runs}/last/rows", f"{runs}/last/rows"]


def test_a_hostile_name_stays_one_part_of_the_path() -> None:
    asked = []

    def see(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.raw_path.decode())
        return httpx2.Response(200, json={})

    with asking(see) as service:
        service.run("a/../b", "x?y#z")
        service.run("a", "latest:feature/x")
        with pytest.raises(HarnessError, match="a name is missing, or none"):
            service.run("..")
    assert asked == ["/api/projects/a%2F..%2Fb/runs/x%3Fy%23z", "/api/projects/a/runs/latest%3Afeature~x"]
