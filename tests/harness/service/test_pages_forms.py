"""What forms change: only by a page of the service, in the name of who is logged in; then the browser is led on."""

import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from harness.service import seeded
from paritygate.service import gating, jobs, queries
from paritygate.service.app import create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.summaries import Page
from paritygate.service.tokens import create

RUN = "20261101-030405-tiny"
PAGE = f"/projects/port/runs/{RUN}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A service of its own, for it is changed; `client` is logged in, as a browser is."""
    folder = tmp_path_factory.mktemp("desk")
    database = f"sqlite:///{folder / 'service.db'}"
    config = ServiceConfig(folder / "data", database, folder / "runs", folder / "golden", hosts=("testserver",))
    app = create_app(config)
    service = app.state.service
    seeded.history(service, "port", folder, runs=1)
    seeded.work(service, "port")
    token = create(service.engine, "ada", ("read", "submit", "approve"), "tests")
    with TestClient(app, follow_redirects=False) as client:
        made = SimpleNamespace(app=app, service=service, client=client)
        assert client.post("/login", data={"form_token": sent(client, "/login"), "token": token}).status_code == 303
        yield made


def sent(client: TestClient, path: str) -> str:
    """The token that the forms of a page carry."""
    found = re.search(r'name="form_token" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


def post(desk: SimpleNamespace, path: str, page: str = PAGE, **fields: str) -> tuple[int, str]:
    answer = desk.client.post(path, data={"form_token": sent(desk.client, page), **fields})
    return answer.status_code, answer.headers.get("location", "")


def test_a_run_is_pinned_with_a_reason_and_unpinned(desk: SimpleNamespace) -> None:
    assert post(desk, f"{PAGE}/pin", reason="the <release>") == (303, PAGE)
    assert queries.run(desk.service, "port", RUN).pinned
    text = desk.client.get(PAGE).text
    assert "pinned by <bdi>ada</bdi>" in text and "the &lt;release&gt;" in text and "/unpin" in text
    assert post(desk, f"{PAGE}/unpin") == (303, PAGE)
    assert not queries.run(desk.service, "port", RUN).pinned
    assert post(desk, f"{PAGE}/pin", reason=" ")[0] == 422


def test_what_would_be_accepted_is_shown_before_it_is(desk: SimpleNamespace) -> None:
    asked = {"select": "*/bf16/*/layers.1.moe:out", "reason": 'as "meant" <b>'}
    shown = desk.client.get(f"{PAGE}/approve", params=asked).text
    assert "2 rows would be accepted" in shown
    assert gating.accepted_lines(desk.service, "port") == []
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown))
    assert hidden["reason"] == "as &#34;meant&#34; &lt;b&gt;"
    assert post(desk, f"{PAGE}/approve", **asked, semantic="refused") == (303, "/projects/port/baselines")
    accepted = gating.accepted_lines(desk.service, "port")
    assert {line.reason for line in accepted} == {asked["reason"]} and len(accepted) == 2
    assert [each.who for each in gating.approvals(desk.service, "port")] == ["ada"]
    baseline = desk.client.get("/projects/port/baselines").text
    assert "<b><bdi>ada</bdi></b> accepted 2 rows" in baseline and "as &#34;meant&#34; &lt;b&gt;" in baseline


def test_an_approval_that_cannot_be_says_why(desk: SimpleNamespace) -> None:
    shown = desk.client.get(f"{PAGE}/approve", params={"select": "nothing*", "reason": "x"}).text
    assert "no row matches" in shown and "Accept " not in shown
    assert post(desk, f"{PAGE}/approve", select="nothing*", reason="x")[0] == 422
    assert post(desk, f"{PAGE}/approve", select="*", reason="")[0] == 422


def test_an_admin_makes_a_project_on_the_page_of_projects(desk: SimpleNamespace) -> None:
    assert "A new project" not in desk.client.get("/projects").text
    assert post(desk, "/projects", name="other")[0] == 403  # of ada, who approves and makes no projects
    token = create(desk.service.engine, "root", ("admin",), "tests")
    of_one = create(desk.service.engine, "chief", ("admin",), "tests", "port")
    with TestClient(desk.app, follow_redirects=False) as client:
        admin = SimpleNamespace(client=client)
        post(admin, "/login", "/login", token=of_one)
        assert "A new project" not in client.get("/projects").text
        assert post(admin, "/projects", name="other")[0] == 403
        post(admin, "/login", "/login", token=token)
        assert post(admin, "/projects", "/projects", name="other") == (303, "/projects/other/runs")
        assert post(admin, "/projects", "/projects", name="other")[0] == 409
        assert post(admin, "/projects", "/projects", name="../Other")[0] == 422
        shown = client.get("/projects/other/runs").text
    assert "<code>paritygate run tiny\nparitygate upload latest --server" in shown


def test_a_job_is_cancelled(desk: SimpleNamespace) -> None:
    number = jobs.jobs(desk.service, "port", Page()).items[0].number
    page = f"/projects/port/jobs/{number}"
    assert post(desk, f"{page}/cancel", page) == (303, page)
    assert jobs.show(desk.service, "port", number).state == "cancelled"
    assert "Cancel this job" not in desk.client.get(page).text
    assert post(desk, f"{page}/cancel", page="/projects/port/runs/" + RUN)[0] == 409


@pytest.mark.parametrize("path", [f"{PAGE}/pin", f"{PAGE}/unpin", f"{PAGE}/approve", "/projects/port/jobs/4/cancel"])
def test_a_form_of_another_page_changes_nothing(desk: SimpleNamespace, path: str) -> None:
    fields = {"select": "*", "reason": "because"}
    assert desk.client.post(path, data=fields).status_code == 403
    assert desk.client.post(path, data={**fields, "form_token": "0" * 64}).status_code == 403
    good = {**fields, "form_token": sent(desk.client, PAGE)}
    assert desk.client.post(path, data=good, headers={"Origin": "https://evil.example"}).status_code == 403
    with TestClient(desk.app, follow_redirects=False) as nobody:
        assert nobody.post(path, data=good).status_code in (401, 403)


def test_who_may_only_read_sees_no_forms_and_changes_nothing(desk: SimpleNamespace) -> None:
    token = create(desk.service.engine, "reader", ("read",), "tests")
    with TestClient(desk.app, follow_redirects=False) as client:
        client.post("/login", data={"form_token": sent(client, "/login"), "token": token})
        text = client.get(PAGE).text
        assert "Approve…" not in text and "/pin" not in text and "Log out" in text
        form = {"form_token": sent(client, PAGE), "reason": "because", "select": "*"}
        for path in (f"{PAGE}/pin", f"{PAGE}/approve", "/projects/port/jobs/4/cancel"):
            assert client.post(path, data=form).status_code == 403, path
        assert client.get(f"{PAGE}/approve").status_code == 403
