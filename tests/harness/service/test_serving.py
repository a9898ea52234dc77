"""A real server, its verbs, and `kill -9` in the middle of an upload."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from harness.report import synthetic
from harness.service import dying
from harness.service.sending import manifest
from paritygate.cli.main import main
from paritygate.cli.serving import listening
from paritygate.client import Client
from paritygate.client.transport import Transport
from paritygate.core.errors import InfrastructureError
from paritygate.service import server
from paritygate.service.config import ServiceConfig

RUN = "20260102T030405Z-tiny-abcd"
Said = tuple[int, str, str]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PARITYGATE_GOLDEN": str(tmp_path / "golden"), "PARITYGATE_RUNS": str(tmp_path / "runs")}


@pytest.fixture
def paritygate(environ: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: str, **more: str) -> Said:
        code = main(arguments, environ | more)
        return (code, *capfd.readouterr())

    return call


@contextmanager
def serving(environ: dict[str, str], *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server in a process of its own, and where it answers."""
    command = [sys.executable, "-m", "paritygate", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        first = process.stdout.readline()
        found = re.fullmatch(r"serving (http://127\.0\.0\.1:\d+)\n", first)
        assert found, first + process.communicate(timeout=60)[1]
        yield process, found[1]
    finally:
        process.kill()
        process.communicate(timeout=60)


def answering(url: str, token: str) -> Client:
    """A client, once the server has got as far as to answer."""
    client = Client(Transport(url, token, pause=lambda s: time.sleep(0.2)))
    client.projects()
    return client


def half_sent(url: str, token: str, path: str, content: bytes, part: Path) -> socket.socket:
    """A connection over which half a file came, and is on disk; the rest never comes."""
    host, port = url.removeprefix("http://").split(":")
    at = socket.create_connection((host, int(port)))
    head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nUpload-Offset: 0\r\n"
    head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
    at.sendall(head.encode() + content[: len(content) // 2])
    for _ in range(600):
        if part.is_file() and part.stat().st_size == len(content) // 2:
            return at
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_a_server_killed_in_the_middle_of_an_upload(
    tmp_path: Path, environ: dict[str, str], paritygate: Callable[..., Said]
) -> None:
    folder = synthetic.write_run(tmp_path / "runs" / RUN, layers=1).folder
    data = tmp_path / "service"
    code, token, _ = paritygate("token", "create", "ci", "--scopes", "admin,read,submit", "--expires", "1d")
    assert code == 0
    token, refused = token.strip(), {"PARITYGATE_TOKEN": "pgt_" + "x" * 43}
    asked, rows = manifest(folder), (folder / "rows.jsonl").read_bytes()
    number = [each["name"] for each in asked["files"]].index("rows.jsonl")
    with serving(environ, "--unnamed", "nobody") as (process, url), answering(url, token) as client:
        known = {"PARITYGATE_SERVER": url, "PARITYGATE_TOKEN": token}
        assert paritygate("project", "create", "llama", **known)[:2] == (
            0,
            "made    llama\nnext    paritygate upload --project llama\n",
        )
        assert paritygate("project", "list", **known)[:2] == (0, "llama  0 runs  empty\n1 project\n")
        assert paritygate("project", "create", "llama", **known)[0] == 2
        state = client._transport.post("/api/projects/llama/uploads", asked)
        path, part = (
            f"/api/projects/llama/uploads/{state['upload']}/files/rows.jsonl",
            data / "uploads" / state["upload"],
        )
        with half_sent(url, token, path, rows, part / f"{number}.part"):
            process.kill()
            process.wait(timeout=60)
    assert list((data / "projects" / "llama" / "runs").iterdir()) == []
    with serving(environ, "--unnamed", "nobody") as (process, url), answering(url, token) as client:
        assert list(client.runs("llama")) == []
        known = {"PARITYGATE_SERVER": url, "PARITYGATE_TOKEN": token}
        code, _, error = paritygate("gate", "latest", "--project", "llama", **known)
        assert code == 2 and f"paritygate upload {RUN} --project llama" in error
        code, said, error = paritygate(
            "upload", "--project", "llama", "--branch", "main", "--commit", "c0ffee", **known
        )
        assert (code, error) == (0, "")
        assert f"rows.jsonl  {len(rows):,} bytes, from {len(rows) // 2:,} on\n" in said
        assert [each["branch"] for each in client.runs("llama")] == ["main"]
        code, said, _ = paritygate("gate", "--project", "llama", **known)
        assert code == 0 and said.startswith(f"PASS  {RUN} of llama\nbudget   pass: ")
        code, said, _ = paritygate("gate", RUN, "--project", "llama", "--output-format", "json", **known)
        answer = json.loads(said)
        assert (code, answer["exit_code"], answer["url"]) == (0, 0, f"{url}/projects/llama/runs/{RUN}")
        code, said, _ = paritygate("gate", "latest:main", "--project", "llama", "--output-format", "markdown", **known)
        assert code == 0 and said.startswith(f"### PASS: <code>{RUN}</code> of <code>llama</code>\n")
        files = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "outputs")}
        code, said, _ = paritygate("gate", "--project", "llama", "--output-format", "github", **known, **files)
        assert code == 0 and said.startswith("::stop-commands::")
        assert "### PASS: " in (tmp_path / "summary").read_text()
        assert f"\n{url}/projects/llama/runs/{RUN}\n" in (tmp_path / "outputs").read_text()
        code, _, error = paritygate("gate", "--project", "llama", "--output-format", "junit", **known)
        assert code == 2 and error.startswith("a service says no tests")
        asked = ("approve", "--project", "llama", "--select", "*/layers.0:out", "--reason", "a test")
        code, said, _ = paritygate(*asked, "--dry-run", **known)
        assert code == 0 and said.endswith("rows; reason: a test\nnothing was written\n")
        code, said, _ = paritygate(*asked, "--yes", **known)
        assert code == 0 and said.endswith("rows accepted in llama\n")
        code, _, error = paritygate(*asked, "--by", "Ada", **known)
        assert code == 2 and error.startswith("a service knows who accepts")
        code, _, error = paritygate("gate", "--project", "llama", **(known | refused))
        assert code == 2 and error.startswith("token is not, or no longer, good") and "xxx" not in error
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143


def serves(process: "subprocess.Popen[str]") -> int:
    """The next process that says that it does."""
    assert process.stderr
    return next(int(found[1]) for line in process.stderr if (found := re.search(r"process (\d+) serves", line)))


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def refuses(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as at:
        return at.connect_ex((host, int(port))) != 0


def test_several_processes_serve_as_one(environ: dict[str, str]) -> None:
    """They count together, one that dies is replaced, and none outlives the first."""
    with serving(environ, "--processes", "2") as (process, url), answering(url, ""):
        first, _ = serves(process), serves(process)
        for _ in range(4):
            with Client(url) as another:
                another.projects()

        def counted() -> float:
            with urlopen(f"{url}/metrics", timeout=60) as answer:
                said = answer.read().decode()
            found = re.search(r'requests_total{method="GET",route="/api/projects",status="200"} (\S+)', said)
            return float(found[1]) if found else 0.0

        assert counted() == 5.0
        os.kill(first, signal.SIGKILL)
        assert serves(process) != first
        with Client(Transport(url, pause=lambda s: time.sleep(0.2))) as another:
            assert [each["name"] for each in another.projects()] == ["local"]
        process.kill()
        until(lambda: refuses(url))


def test_a_process_that_cannot_serve_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = ServiceConfig.beside(tmp_path / "data", tmp_path / "runs", tmp_path / "golden")
    monkeypatch.setattr(server, "_child", os._exit)  # which takes another argument
    with listening("127.0.0.1", 0) as at, pytest.raises(InfrastructureError) as ended:
        server.serve_on(at, config, "", "problems", processes=2)
    assert str(ended.value) == "process of the service ended before it served\n  got       exit code 1, see above"
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ, "who serves next in this process would look there"


def test_a_process_that_cannot_be_replaced_now_is_tried_again_while_another_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second of them dies, and so does each in its place: the server ends with the first, and no sooner."""
    config = ServiceConfig.beside(tmp_path / "data", tmp_path / "runs", tmp_path / "golden")
    config.data.mkdir()
    monkeypatch.setattr(server, "_child", dying.child)
    monkeypatch.setattr(server, "_PAUSE_S", 0.0)
    with listening("127.0.0.1", 0) as at, pytest.raises(InfrastructureError, match="ended before it served"):
        server.serve_on(at, config, "", "problems", processes=2)
    ended = [int(line.rpartition(" ")[2]) for line in caplog.messages if "ended with" in line]
    assert ended[:2] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["serve", "--host", "0.0.0.0"], "nobody could come in: there is no token"),
        (["serve", "--unnamed", "nobody"], "nobody could come in: there is no token"),
        (["serve", "--host", "0.0.0.0", "--unnamed", "loopback"], "unnamed callers only over loopback"),
        (["serve", "--behind", "127.0.0.1"], "nobody could come in: there is no token"),
        (["serve", "--behind", "127.0.0.1", "--unnamed", "loopback"], "unnamed callers only over loopback"),
        (["token", "create"], "whose token?"),
        (["token", "create", "x"], "bad scopes"),
        (["token", "create", "x", "--scopes", "root"], "bad scopes"),
        (["token", "create", "a b", "--scopes", "read"], "bad name of a token"),
        (["token", "create", "x", "--scopes", "read", "--expires", "soon"], "no time"),
        (["token", "revoke", "x"], "no service here"),
        (["db", "status"], "no service here"),
        (["token", "list", "x"], "list takes no name"),
        (["project", "list", "x"], "list takes no name"),
        (["project", "create"], "which project?"),
        (["project", "list"], "which service?"),
        (["upload", "--project", "x"], "there is no run yet"),
        (["gate", "--project", "x"], "which service?"),
        (["gate", "--server", "http://127.0.0.1:1"], "which project?"),
    ],
)
def test_what_the_verbs_refuse(paritygate: Callable[..., Said], arguments: list[str], what: str) -> None:
    code, _, error = paritygate(*arguments)
    assert (code, error.partition("\n")[0].partition(":")[0]) == (2, what.partition(":")[0])


def test_tokens_of_the_command_line(paritygate: Callable[..., Said]) -> None:
    assert (
        paritygate("token", "create", "ci", "--scopes", "read,submit", "--project", "llama", "--expires", "90d")[0] == 0
    )
    code, said, _ = paritygate("token", "list")
    assert code == 0 and re.match(r"ci  read,submit  llama  until \d{4}-\d\d-\d\d  never used\n1 token\n", said)
    code, _, error = paritygate("token", "revoke", "x")
    assert (code, error.partition(":")[0]) == (2, "no such token, or revoked before")
    assert paritygate("token", "revoke", "ci")[:2] == (0, "ci opens nothing any more\n")
    assert "  revoked  " in paritygate("token", "list")[1]


def test_a_service_beside_the_runs_is_not_committed(paritygate: Callable[..., Said], tmp_path: Path) -> None:
    code, _, error = paritygate("token", "create", "ada", "--scopes", "admin")
    assert code == 0 and f"{tmp_path / 'service' / 'service.db'}; it is shown this once" in error
    assert (tmp_path / "service" / ".gitignore").read_text() == "*\n"


def test_the_folder_is_said_where_a_token_is_missing(paritygate: Callable[..., Said], tmp_path: Path) -> None:
    data = str(tmp_path / "its data")
    code, _, error = paritygate("serve", "--unnamed", "nobody", "--data", data)
    assert code == 2 and f"paritygate token create NAME --scopes admin --data '{data}'" in error


def test_a_database_of_a_newer_version_is_said_before_anything_is_served(
    paritygate: Callable[..., Said], tmp_path: Path
) -> None:
    paritygate("token", "create", "ada", "--scopes", "admin")
    with sqlite3.connect(tmp_path / "service" / "service.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for arguments in (["serve"], ["db", "migrate"], ["token", "list"]):
        code, said, error = paritygate(*arguments)
        assert (code, said) == (4, "")
        assert error.startswith("database is of a newer version of paritygate: sqlite:////") and "9999" in error


def test_an_extra_that_is_not_installed(paritygate: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*given: Any, **more: Any) -> None:
        raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")

    monkeypatch.setattr("paritygate.cli.serving.config_of", gone)
    code, _, error = paritygate("serve")
    assert code == 2 and "pip install 'paritygate[serve]'" in error


def test_the_database_says_so_too(paritygate: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "paritygate.service.app", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, _, error = paritygate("db", "status")
    assert code == 2
    assert error.startswith("the service is not installed\n  got       no fastapi\n")
