"""Who may come in, by token, by cookie or from this machine; what holds for every answer; what is noted."""

import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from harness.service.conftest import bearer
from paritygate.service.access import needs
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.database import connect, migrate
from paritygate.service.guard import HEADERS
from paritygate.service.sessions import signer
from paritygate.service.tables import token
from paritygate.service.tokens import known


def named(engine: Any, name: str) -> Any:
    return next(each for each in known(engine) if each.name == name)


def on_sqlite(function: Any) -> Any:
    return pytest.mark.parametrize("database", ["sqlite"], indirect=True)(function)


def test_tokens_are_made_listed_and_revoked(app: FastAPI, client: TestClient) -> None:
    admin = bearer(app, "admin", name="root")
    asked = {"name": "ci", "scopes": ["submit", "read"], "expires_s": 3600}
    made = client.post("/api/tokens", json=asked, headers=admin)
    assert made.status_code == 201
    ci = {"Authorization": f"Bearer {made.json()['token']}"}
    assert client.post("/api/tokens", json=asked, headers=admin).status_code == 409
    listed = client.get("/api/tokens", headers=admin, params={"limit": 1}).json()
    assert [each["name"] for each in listed["items"]] == ["ci"] and listed["next"] == "ci"
    assert listed["items"][0]["scopes"] == ["read", "submit"]
    assert made.json()["token"] not in client.get("/api/tokens", headers=admin).text
    assert client.get("/metrics", headers=ci).status_code == 200
    assert client.delete("/api/tokens/ci", headers=admin).status_code == 204
    assert client.get("/metrics", headers=ci).status_code == 401
    assert client.delete("/api/tokens/ci", headers=admin).status_code == 404
    done = client.get("/api/audit", headers=admin).json()["items"]
    assert [(each["who"], each["action"], each["target"]) for each in done] == [
        ("root", "token revoked", "ci"), ("root", "token created", "ci"), ("tests", "token created", "root"),
    ]  # fmt: skip


def test_an_admin_of_a_project_sees_that_project_only(app: FastAPI, client: TestClient) -> None:
    own = bearer(app, "admin", name="own", project="llama")
    bearer(app, "read", name="theirs", project="other")
    asked = {"name": "mine", "scopes": ["read"], "project": "llama"}
    assert client.post("/api/tokens", json=asked, headers=own).status_code == 201
    assert [each["name"] for each in client.get("/api/tokens", headers=own).json()["items"]] == ["mine", "own"]
    assert client.delete("/api/tokens/theirs", headers=own).status_code == 404
    first = client.get("/api/audit", headers=own, params={"limit": 1}).json()
    rest = client.get("/api/audit", headers=own, params={"limit": 1, "after": first["next"]}).json()
    assert [each["target"] for each in first["items"] + rest["items"]] == ["mine", "own"] and rest["next"] == ""
    assert client.get("/api/audit", headers=own, params={"project": "other"}).status_code == 404
    assert client.get("/metrics", headers=own).status_code == 403


def test_the_last_use_is_noted_beside_the_requests(app: FastAPI, client: TestClient) -> None:
    headers = bearer(app, "admin", name="used")
    assert client.get("/api/audit", headers=headers).status_code == 200
    app.state.uses.close()
    first = named(app.state.service.engine, "used").used
    assert first is not None
    assert client.get("/api/audit", headers=headers).status_code == 200
    app.state.uses.close()
    assert named(app.state.service.engine, "used").used == first


def test_servers_that_start_at_once_make_the_tables_once_and_sign_with_one_secret(database: str) -> None:
    engines = [connect(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate, engines)) == [None] * 4
        secrets = set(pool.map(signer, engines))
    assert len(secrets) == 1 and len(secrets.pop()) == 64
    for engine in engines:
        engine.dispose()


@on_sqlite
def test_a_browser_logs_in_and_out(app: FastAPI, client: TestClient) -> None:
    text = bearer(app, "admin")["Authorization"].split()[1]

    def form() -> str:
        return client.get("/login").text.partition('name="form_token" value="')[2].partition('"')[0]

    def log_in(token: str, **headers: str) -> Any:
        asked = {"token": token, "form_token": form(), "next": "/projects/x?branch=a"}
        return client.post("/login", data=asked, headers=headers, follow_redirects=False)

    refused = log_in("pgt_" + "x" * 43)
    assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
    answer = log_in(text)
    assert (answer.status_code, answer.headers["location"]) == (303, "/projects/x?branch=a")
    cookie = answer.headers["set-cookie"]
    assert text not in cookie
    assert all(f"; {part}" in cookie for part in ("HttpOnly", "Max-Age=43200", "Path=/", "SameSite=strict"))
    assert "; Secure" not in cookie
    assert "; Secure" in log_in(text, Origin="https://testserver").headers["set-cookie"]
    client.cookies.clear()
    client.headers["Cookie"] = cookie.partition(";")[0]
    assert client.get("/api/audit").status_code == 200
    with pytest.MonkeyPatch.context() as clock:
        now = time.time()
        clock.setattr(time, "time", lambda: now + 43_300)
        assert client.get("/api/audit").status_code == 401
    answer = client.post("/logout", data={"form_token": form()}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert 'paritygate=""' in answer.headers["set-cookie"]


@on_sqlite
def test_who_has_to_log_in_is_led_there_and_back(app: FastAPI, client: TestClient) -> None:
    app.get("/page", dependencies=[needs("read")])(lambda: {})
    answer = client.get("/page?x=1", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fpage%3Fx%3D1")
    # A link from elsewhere comes without the strict cookie: the page asks for itself again, and then it is sent.
    answer = client.get("/page", headers={"Sec-Fetch-Site": "cross-site"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["refresh"]) == (401, "0")


@on_sqlite
@pytest.mark.parametrize(
    ("address", "name", "status"),
    [
        ("127.0.0.1", "127.0.0.1", 200),
        ("127.8.9.1", "localhost", 200),
        ("::1", "[::1]", 200),
        ("::ffff:127.0.0.1", "localhost", 200),
        ("10.0.0.8", "127.0.0.1", 401),
        ("::ffff:10.0.0.8", "localhost", 401),
        ("127.0.0.1", "10.0.0.8", 401),
        ("127.0.0.1", "testserver", 401),
    ],
)
def test_unnamed_from_this_machine_only(config: ServiceConfig, address: str, name: str, status: int) -> None:
    app = create_app(replace(config, unnamed="loopback"))
    with TestClient(app, base_url=f"http://{name}:8321", client=(address, 5000)) as client:
        assert client.get("/api/audit").status_code == status
        assert client.get("/api/audit", headers={"Forwarded": "for=127.0.0.1"}).status_code == 401


@on_sqlite
def test_a_failure_of_the_service_has_a_number_and_no_trace(
    app: FastAPI, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/api/broken")
    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("a secret of the service")

    with caplog.at_level(logging.ERROR, "paritygate.service"):
        answers = [client.get("/api/broken"), client.get("/broken")]
    number = answers[0].json()["error"]["where"]
    assert [answer.status_code for answer in answers] == [500, 500]
    assert number in caplog.text and "a secret of the service" in caplog.text
    for answer in answers:
        assert "secret" not in answer.text and "Traceback" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


@on_sqlite
def test_every_answer_says_what_a_browser_may_do_with_it(client: TestClient) -> None:
    for path in ("/healthz", "/login", "/api/audit", "/nothing", "/api/nothing", "/api/openapi.json"):
        answer = client.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    assert client.get("/nothing").headers["content-type"].startswith("text/html")
    assert set(client.get("/nothing.json").json()["error"]) == {"what", "where", "expected", "got", "try"}
    assert client.post("/healthz").status_code == 405


@on_sqlite
def test_a_request_that_does_not_fit_is_told_as_any_refusal(app: FastAPI, client: TestClient) -> None:
    headers = bearer(app, "admin")
    answer = client.post("/api/tokens", json={"name": "x\x00<b>", "scopes": ["root"], "expires_s": -1}, headers=headers)
    assert answer.json() == {
        "error": {
            "what": "request does not fit", "where": "body.scopes.0", "expected": "", "try": "",
            "got": "Input should be 'read', 'submit', 'work', 'approve' or 'admin' (and 1 more)",
        }
    }  # fmt: skip
    assert (
        client.post("/api/tokens", content=b"{", headers={**headers, "Content-Type": "application/json"}).status_code
        == 422
    )
    answer = client.post("/api/tokens", json={"name": "a b", "scopes": ["read"]}, headers=headers)
    assert answer.json()["error"]["what"] == "bad name of a token"


@on_sqlite
def test_goldens_are_for_who_may_read_or_work(app: FastAPI, client: TestClient, config: ServiceConfig) -> None:
    content = b"an object"
    name = hashlib.sha256(content).hexdigest()
    at = config.golden / "objects" / name[:2] / f"{name}.safetensors"
    at.parent.mkdir(parents=True)
    at.write_bytes(content)
    (config.golden / "budgets.toml").write_text("not for strangers")
    work, path = bearer(app, "work"), f"/api/goldens/objects/{name[:2]}/{name}.safetensors"
    assert client.get(path, headers=work).content == content
    part = client.get(path, headers={**work, "Range": "bytes=3-"})
    assert (part.status_code, part.content) == (206, content[3:])
    assert client.get("/api/goldens/", headers=work).headers["content-type"] == "text/html; charset=utf-8"
    assert client.get(path).status_code == 401
    assert client.get(path, headers=bearer(app, "submit")).status_code == 403
    for other in (
        "budgets.toml",
        "objects/../budgets.toml",
        "%2e%2e/service.db",
        "objects//etc/passwd",
        "a%00b/c.json",
    ):
        assert client.get(f"/api/goldens/{other}", headers=work).status_code == 404, other


def test_nothing_of_a_token_is_kept_but_its_hash(app: FastAPI) -> None:
    text = bearer(app, "read")["Authorization"].split()[1]
    with app.state.service.engine.connect() as connection:
        line = connection.execute(select(token)).one()
    assert not any(text in str(value) for value in line) and len(text) == 4 + 43


@on_sqlite
def test_requests_are_counted_by_route(app: FastAPI, client: TestClient) -> None:
    for path in ("/api/tokens/a", "/api/tokens/b", "/x/y/z"):
        client.delete(path)
    text = client.get("/metrics", headers=bearer(app, "read")).text
    assert 'paritygate_requests_total{method="DELETE",route="/api/tokens/{name}",status="401"} 2.0' in text
    assert 'route="none",status="404"} 1.0' in text
    assert "paritygate_workers 0.0" in text
