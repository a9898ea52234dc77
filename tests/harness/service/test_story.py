"""A team's day, on a real server with PostgreSQL, real workers and real replays of the toy: uploads, gate, approval, a
job whose worker is killed in mid-run, and a server that is killed in mid-upload.
"""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.service.postgres import Postgres
from harness.service.sending import manifest
from paritygate.client.candidates import revision_of
from paritygate.client.client import Client
from paritygate.client.jobs import Jobs
from paritygate.client.transport import ConnectionLost, ServerRefused, Transport, path_of
from paritygate.service import tokens
from paritygate.service.database import connect, migrate

from toy.workplace import TOY, Workplace

pytestmark = pytest.mark.timeout(600)
CELLS = "f32,bf16 x single x cpu"
OF_A_CELL = 16  # values


class Team:
    """A folder for everything, a database, tokens by scope, and the processes that are at work."""

    def __init__(self, root: Path, database: str):
        self.root, self.database, self.url = root, database, ""
        self.place = Workplace(root)
        (root / "golden").mkdir()
        shutil.copy(TOY.parents[1] / "golden" / "budgets.toml", root / "golden")
        engine = connect(database)
        migrate(engine)
        scopes: dict[str, tuple[tokens.Scope, ...]] = {
            "ci": ("read", "submit"), "gpu-host": ("work",), "lead": ("read", "approve"), "admin": ("admin",)
        }  # fmt: skip
        self.tokens = {name: tokens.create(engine, name, some, "tests") for name, some in scopes.items()}
        engine.dispose()

    def environment(self, who: str = "", **more: str) -> dict[str, str]:
        named = {"PARITYGATE_SERVER": self.url, "PARITYGATE_TOKEN": self.tokens[who]} if who else {}
        return {**self.place.environ, "PARITYGATE_DB": self.database, "PYTHONUNBUFFERED": "1", **named, **more}

    @contextmanager
    def at_work(self, *arguments: str, **environment: str) -> Iterator["AtWork"]:
        """A verb in a process of its own, until it is killed or this ends."""
        who = environment.pop("who", "")
        log = self.root / f"{arguments[0]}-{len(list(self.root.glob('*.log')))}.log"
        with log.open("wb") as complaints:
            process = subprocess.Popen(
                self.place.command(*arguments), cwd=self.root, env=self.environment(who, **environment),
                stdout=subprocess.PIPE, stderr=complaints, text=True,
            )  # fmt: skip
        try:
            yield AtWork(process, log)
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def serving(self, port: str = "0") -> Iterator["AtWork"]:
        options = ("--data", str(self.root / "data"), "--unnamed", "nobody", "--lease", "5")
        with self.at_work("serve", "--port", port, *options) as server:
            self.url = server.wait_for(r"serving (http://127\.0\.0\.1:\d+)")
            yield server

    def client(self, who: str) -> Client:
        return Client(self.url, self.tokens[who])

    @contextmanager
    def transport(self, who: str) -> Iterator[Transport]:
        transport = Transport(self.url, self.tokens[who])
        try:
            yield transport
        finally:
            transport.close()

    def asked(self, path: str, said: Any = None, who: str = "ci") -> Any:
        with self.transport(who) as transport:
            return transport.get(path) if said is None else transport.post(path, said)


class AtWork:
    """A process, and what it says."""

    def __init__(self, process: subprocess.Popen[str], log: Path):
        self.process, self.log = process, log

    def wait_for(self, pattern: str) -> str:
        """Reads on until a line fits, and returns what the pattern's group is in it."""
        assert self.process.stdout is not None
        said: list[str] = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(pattern, line):
                return found[found.re.groups]
        raise AssertionError(f"{pattern} was not said: {''.join(said)}\n{self.log.read_text()}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


def checkout(root: Path, candidate: str) -> Path:
    """The toy with a candidate, as a repository."""
    folder = shutil.copytree(
        TOY, root / candidate, ignore=shutil.ignore_patterns("__pycache__", "test_*", "conftest.py")
    )
    family = folder / "families" / "toy.py"
    family.write_text(family.read_text().replace("toy_jax:build", f"toy_variants:{candidate}"))
    who = ["-c", "user.name=team", "-c", "user.email=team@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", candidate]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def rows(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def run_of(team: Team, candidate: str, code: int) -> Path:
    """A run that nobody stopped, of this machine's own."""
    place = Workplace(team.root, team.root / candidate)
    return Path(place.done("run", "toy", "--cells", CELLS, "--no-explain", "--json", code=code).json["folder"])


@pytest.fixture
def team(postgres: Postgres, tmp_path: Path) -> Team:
    team = Team(tmp_path, postgres.database())
    for candidate in ("stops", "coarse"):
        checkout(tmp_path, candidate)
    team.place.done("capture", "toy")
    return team


def test_a_teams_day(team: Team) -> None:
    good, drifting = run_of(team, "stops", 0), run_of(team, "coarse", 1)
    with team.serving() as server:
        team.asked(path_of("projects"), {"name": "toy"}, "admin")
        two_uploads_at_once(team, good, drifting)
        a_drift_is_approved_by_who_may(team, drifting)
        with team.transport("ci") as transport:
            a_worker_is_killed_and_another_finishes(team, Jobs(transport, "toy"), good)
        copy = renamed(good, "beef")
        half_sent(team, copy, server)
    with team.serving(port=team.url.rpartition(":")[2]):
        nothing_is_half_there(team, copy)


def two_uploads_at_once(team: Team, good: Path, drifting: Path) -> None:
    def upload(folder: Path) -> dict[str, Any]:
        with team.client("ci") as client:
            return client.upload("toy", folder, branch="main" if folder is good else "change", commit="c0ffee")

    with ThreadPoolExecutor(2) as pool:
        there = list(pool.map(upload, (good, drifting)))
    assert [each["verdict"] for each in there] == ["pass", "fail"]
    assert sorted(each["number"] for each in there) == [1, 2]
    for folder, code in ((good, 0), (drifting, 1)):
        assert gate(team, folder) == code


def a_drift_is_approved_by_who_may(team: Team, drifting: Path) -> None:
    asked = ("toy", drifting.name, "*", "the head rounds as the kernel of that device does")
    with team.client("ci") as client, pytest.raises(ServerRefused) as refused:
        client.approve(*asked, act="write")
    assert refused.value.status == 403
    with team.client("lead") as client:
        client.approve(*asked, act="write")
    assert gate(team, drifting) == 0


def gate(team: Team, run: Path) -> int:
    with team.client("ci") as client:
        return client.gate("toy", run.name)["exit_code"]


def a_worker_is_killed_and_another_finishes(team: Team, jobs: Jobs, whole: Path) -> None:
    candidate = team.root / "stops"
    number = jobs.request("toy", CELLS, revision_of(candidate), branch="main")["number"]
    told: list[dict[str, Any]] = []
    events = jobs.events(number)

    def wait_for(kind: str, fits: Callable[[dict[str, Any]], bool] = lambda each: True) -> dict[str, Any]:
        for each in events:
            told.append(each)
            if each["kind"] == kind and fits(each):
                return each
        raise AssertionError(f"{kind} did not happen: {told}")

    def works(name: str) -> tuple[str, ...]:
        options = ("--candidate", str(candidate), "--name", name, "--folder", str(team.root / name), "--poll", "0.2")
        return ("worker", *options, "--until-idle")

    extensions = {"PARITYGATE_PATH": ".", "who": "gpu-host"}
    with team.at_work(*works("first")[:-1], TOY_STOPS="hangs", **extensions) as first:
        wait_for("task progress", lambda each: each.get("values") == OF_A_CELL)  # all of f32, and it hangs in bf16
        first.kill()
    assert wait_for("lease lost")["worker"] == "first"
    with team.at_work(*works("second"), **extensions) as second:
        assert wait_for("task leased")["worker"] == "second"
        run = wait_for("task done")["run"]
        second.wait_for(rf"goes on with ({run})")
        assert second.process.wait(60) == 0
    assert [each["kind"] for each in events] == [], "the stream ends with its job"
    (task,) = jobs.show(number)["tasks"]
    assert (task["state"], task["attempt"], task["exit_code"]) == ("done", 2, 0)
    arrived = team.root / "data" / "projects" / "toy" / "runs" / run
    assert rows(arrived) == rows(whole), "as of a run that nobody stopped"
    drifts = [json.loads(line) for line in (arrived / "drifts.jsonl").read_text().splitlines()]
    keys = [(each["case"], each["cell"], each["mode"], each["site"], each["port"], each["call"]) for each in drifts]
    assert len(keys) == len(set(keys)) == 2 * OF_A_CELL, "each value was measured into it once"
    leased = {each["worker"] for each in told if each["kind"] == "task leased"}
    assert leased == {"first", "second"}


def renamed(run: Path, end: str) -> Path:
    """The same run under another name, so that it is another one to the service."""
    copy = shutil.copytree(run, run.with_name(f"{run.name[:-4]}{end}"))
    text = (copy / "run.json").read_text()
    (copy / "run.json").write_text(text.replace(run.name, copy.name))
    return copy


def half_sent(team: Team, folder: Path, server: AtWork) -> None:
    """An upload of which the server has half a file when it is killed."""
    at = path_of("projects", "toy", "uploads")
    state = team.asked(at, manifest(folder))
    content, half = (folder / "drifts.jsonl").read_bytes(), (folder / "drifts.jsonl").stat().st_size // 2

    def halfway() -> Iterator[bytes]:
        yield content[:half]
        while half not in [each["have"] for each in team.asked(f"{at}/{state['upload']}")["files"]]:
            assert server.process.poll() is None
        server.kill()
        yield content[half:]

    with team.transport("ci") as transport, pytest.raises(ConnectionLost):
        transport.put(f"{at}/{state['upload']}/files/drifts.jsonl", halfway(), {"Upload-Offset": "0"})


def nothing_is_half_there(team: Team, folder: Path) -> None:
    """The run is nowhere, and its upload goes on with the byte that it ended with."""
    sent = team.asked(path_of("projects", "toy", "uploads"), manifest(folder))
    have = {each["name"]: each["have"] for each in sent["files"]}
    assert have.pop("drifts.jsonl") == (folder / "drifts.jsonl").stat().st_size // 2 and not any(have.values())
    with team.client("ci") as client:
        assert folder.name not in [each["name"] for each in client.runs("toy")]
        assert client.upload("toy", folder, branch="main")["verdict"] == "pass"
        assert next(each["name"] for each in client.runs("toy")) == folder.name
