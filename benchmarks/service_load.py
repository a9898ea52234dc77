"""How many reads a second the service answers, and how late the last percent comes; whether uploads at once are lost.

python benchmarks/service_load.py [--database sqlite] [--rows 200000] [--runs 50] [--reads 2000] [--processes 2]

Fills an index through the service's own writer, with no run folders behind it but what its start looks for; starts the
service on loopback, and asks it from this process, so many questions of each kind, by so many clients that
each keep a connection, with a token. Prints a table; --plans the plan of each statement too.
"""

import argparse
import importlib
import json
import os
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import event, text

from paritygate.service.app import Service, create_app
from paritygate.service.config import ServiceConfig
from paritygate.service.database import connect, migrate, writing
from paritygate.service.folders import Arrival, Folders, write
from paritygate.service.lines import insert_rows, insert_run, place_ids, project_line
from paritygate.service.reading import Judged, Place
from paritygate.service.summaries import RunSummary
from paritygate.service.tokens import create

TESTS = Path(__file__).parent.parent / "tests"
PROJECT, BRANCHES = "load", ("main", "dev", "release")
CELLS = tuple(f"{dtype}/{mesh}/cpu" for dtype in ("f64", "f32", "f16", "bf16") for mesh in ("single", "fsdp2", "tp4"))
Ask = Callable[[random.Random], str]


def places(rows: int) -> list[Place]:
    """As of a model of many layers, in a few cases: twelve cells, two modes."""
    modes, names = ("isolated", "chained"), ("attn:out", "attn:inner.q_rope", "moe:out", "moe:inner.router_logits")
    found = (
        (f"model.case-{case}", cell, mode, f"layers.{layer}.{name}")
        for case in range(rows)
        for cell in CELLS
        for mode in modes
        for layer in range(100)
        for name in names
    )
    return [next(found) for _ in range(rows)]


def judged(draw: random.Random, known: list[Place]) -> Iterator[Judged]:
    """Mostly passes, each with two judgements."""
    for place in known:
        share = draw.lognormvariate(-1.0, 0.4)
        verdict, diagnosis = ("pass", "") if share < 1 else ("over_budget", "precision")
        digest = f"{draw.getrandbits(64):016x}"
        others = json.dumps({"max_abs": share * 0.8})
        yield Judged(place, verdict, diagnosis, "rel_l2", share * 3e-3, share * 2, 2.0, share, others, 0, digest)


def fill(service: Service, rows: int, runs: int) -> None:
    folders, draw, known = Folders(service.config), random.Random(0), places(rows)
    folders.create(PROJECT)
    with writing(service.engine).begin() as connection:
        project = project_line(connection, PROJECT, time.time())
        ids = place_ids(connection, project, known)
    for number in range(1, runs + 1):
        name, branch = f"20260101T000000Z-load-{number:04}", BRANCHES[number % len(BRANCHES)]
        arrival = Arrival(branch, f"{draw.getrandbits(160):040x}", "", "load", time.time(), number)
        folder = folders.runs(PROJECT) / name
        folder.mkdir()
        write(folder / "upload.json", arrival)
        lines = list(judged(draw, known))
        passed = sum(line.verdict == "pass" for line in lines)
        summary = RunSummary(
            name, number, "load", branch, arrival.commit, "", ("cpu",), "fail", 1, rows, passed, rows - passed, 0,
            arrival.arrived, arrival.arrived, "load", 1.0, "", arrival.content, False,
        )  # fmt: skip
        with writing(service.engine).begin() as connection:
            insert_rows(connection, insert_run(connection, project, summary), lines, ids)
    with writing(service.engine).begin() as connection:
        connection.execute(text("ANALYZE"))


def questions(rows: int, runs: int) -> dict[str, Ask]:
    """What is asked, by kind: most of it at random, so that nothing is warm by chance."""
    known, base = places(rows), f"/api/projects/{PROJECT}"

    def run(draw: random.Random) -> str:
        return f"{base}/runs/20260101T000000Z-load-{draw.randint(1, runs):04}"

    def history(draw: random.Random) -> str:
        case, cell, mode, address = draw.choice(known)
        return f"{base}/history?{urlencode({'case': case, 'cell': cell, 'mode': mode, 'address': address})}"

    return {
        "runs": lambda draw: f"{base}/runs?limit=50&after={draw.randint(2, runs + 1)}",
        "runs of a branch": lambda draw: f"{base}/runs?limit=50&branch={draw.choice(BRANCHES)}",
        "one run": run,
        "rows": lambda draw: f"{run(draw)}/rows?limit=50&after={draw.randrange(rows)}",
        "rows, worst first": lambda draw: f"{run(draw)}/rows?limit=50&order=share",
        "rows of a verdict": lambda draw: f"{run(draw)}/rows?limit=50&verdict=over_budget",
        "rows of an address": lambda draw: f"{run(draw)}/rows?limit=50&address={quote(draw.choice(known)[3])}",
        "history": history,
    }


@contextmanager
def serving(config: ServiceConfig, processes: int) -> Iterator[tuple[int, int]]:
    """`paritygate serve`: its port, and its first process."""
    names = {"GOLDEN": config.golden, "RUNS": config.runs, "DB": config.database}
    command = [sys.executable, "-m", "paritygate", "serve", "--port", "0", "--data", str(config.data)]
    command += ["--processes", str(processes), "--unnamed", "nobody"]
    environ = os.environ | {f"PARITYGATE_{name}": str(value) for name, value in names.items()}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield int(server.stdout.readline().rpartition(":")[2]), server.pid
        finally:
            server.terminate()


def ask(port: int, token: str, urls: list[list[str]]) -> list[float]:
    """Seconds of each answer to as many clients as there are lists, each with one question at a time.

    One thread, and no more read of an answer than must be, so that little of two cores goes into asking. Any other
    status than 200 ends it all.
    """
    took: list[float] = []
    with selectors.DefaultSelector() as selector:
        waiting = [client for each in urls if (client := Asking(port, token, each)).ask(selector)]
        while waiting:
            for key, _ in selector.select(60) or sys.exit("no answer in 60 s"):
                if (seconds := key.data.answered()) is not None:
                    took.append(seconds)
                    if not key.data.ask(selector):
                        waiting.remove(key.data)
    return took


class Asking:
    """A client, with a new connection after every `EACH` questions: a build asks a few, and a browser too."""

    EACH = 20

    def __init__(self, port: int, token: str, urls: list[str]):
        self._at, self._urls, self._asked = ("127.0.0.1", port), urls, 0
        self._rest = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._socket, self._got, self._began = socket.socket(), b"", 0.0

    def ask(self, selector: selectors.BaseSelector) -> bool:
        """Whether there was one more question."""
        if self._asked and (self._asked % self.EACH == 0 or self._asked == len(self._urls)):
            selector.unregister(self._socket)
            self._socket.close()
        if self._asked == len(self._urls):
            return False
        self._got, self._began = b"", time.perf_counter()
        if self._asked % self.EACH == 0:
            self._socket = socket.create_connection(self._at)
            selector.register(self._socket, selectors.EVENT_READ, self)
        self._socket.sendall(f"GET {self._urls[self._asked]}{self._rest}".encode())
        self._asked += 1
        return True

    def answered(self) -> float | None:
        """Seconds that it took, when all of the answer is there."""
        self._got += self._socket.recv(1 << 20)
        head, end, body = self._got.partition(b"\r\n\r\n")
        if self._got and not end:
            return None
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200 ") or not length:
            raise SystemExit(f"{self._urls[self._asked - 1]}\n{self._got.decode()}")
        return None if len(body) < int(length[1]) else time.perf_counter() - self._began


def processor_s(process: int) -> float:
    """Seconds of processor time, with its children: unlike the others it says the same on a machine that is busy."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_s(int(child)) for child in children)


def measure(port: int, token: str, ask_one: Ask, reads: int, clients: int) -> tuple[float, list[float]]:
    """Reads a second of all clients, and seconds of each read."""
    draw = random.Random(1)
    urls = [[ask_one(draw) for _ in range(reads // clients)] for _ in range(clients)]
    ask(port, token, [each[:2] for each in urls])
    began = time.perf_counter()
    took = ask(port, token, urls)
    return len(took) / (time.perf_counter() - began), took


def upload_at_once(port: int, token: str, uploaders: int, folder: Path) -> str:
    """So many runs of a thousand rows, each by a client of its own, and none is lost."""
    sys.path.insert(0, str(TESTS))
    synthetic = importlib.import_module("harness.report.synthetic")
    from paritygate.client.client import Client

    names = [f"upload-{i:02}" for i in range(uploaders)]
    for name in names:
        synthetic.write_run(folder / name, "semantic")

    def upload(name: str) -> Any:
        with Client(f"http://127.0.0.1:{port}", token) as client:
            return client.upload(PROJECT, folder / name, branch="upload")

    began = time.perf_counter()
    with ThreadPoolExecutor(uploaders) as pool:
        list(pool.map(upload, names))
    seconds = time.perf_counter() - began
    with Client(f"http://127.0.0.1:{port}", token) as client:
        there = {run["name"]: run for run in client.runs(PROJECT, branch="upload")}
        lost = [name for name in names if name not in there]
        numbers = {run["number"] for run in there.values()}
        short = [name for name in there if len(client.rows(PROJECT, name)) != there[name]["rows"]]
    if lost or short or len(numbers) != uploaders:
        raise SystemExit(f"lost: {lost}, not whole: {short}, numbers: {sorted(numbers)}")
    return f"{uploaders} uploads at once of {there[names[0]]['rows']:,} rows: {seconds:.1f} s, none lost"


def plans(config: ServiceConfig, token: str, rows: int, runs: int) -> None:
    """How the database goes about each question."""
    from fastapi.testclient import TestClient

    app = create_app(config)
    engine, seen = app.state.service.engine, dict[str, tuple[str, object]]()

    @event.listens_for(engine, "before_cursor_execute")
    def keep(connection: object, cursor: object, statement: str, values: object, context: object, many: bool) -> None:
        if statement.startswith("SELECT") and ("row" in statement or "run" in statement):
            seen[statement] = (statement, values)

    headers = {"Authorization": f"Bearer {token}"}
    with TestClient(app, "http://localhost") as client:
        for kind, one in questions(rows, runs).items():
            seen.clear()
            client.get(one(random.Random(2)), headers=headers).raise_for_status()
            for statement, values in list(seen.values()):
                how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN ANALYZE"
                with engine.connect() as connection:
                    lines = connection.exec_driver_sql(f"{how} {statement}", values).all()
                print(f"\n{kind}", *(re.sub(r"\s+", " ", str(line[-1])) for line in lines), sep="\n    ")
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgres (one of its own), or a URL")
    parser.add_argument("--folder", type=Path, help="is kept; what is filled there is asked again as it is")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--reads", type=int, default=2_000, help="of each kind")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2, help="of the service")
    parser.add_argument("--uploaders", type=int, default=0)
    parser.add_argument("--plans", action="store_true")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="service-load-")))
        url = f"sqlite:///{folder / 'service.db'}" if given.database == "sqlite" else str(given.database)
        if given.database == "postgres":
            sys.path.insert(0, str(TESTS))
            postgres = importlib.import_module("harness.service.postgres")
            binaries = postgres.programs()
            if binaries is None:
                raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
            url = stack.enter_context(postgres.running(binaries)).database()
        config = ServiceConfig(folder / "data", url, folder / "runs", folder / "golden")
        service = Service(config, connect(url))
        migrate(service.engine)
        if PROJECT not in Folders(config).projects():
            began = time.perf_counter()
            fill(service, given.rows, given.runs)
            print(f"filled in {time.perf_counter() - began:.0f} s")
        print(f"{service.engine.dialect.name}: {given.rows * given.runs:,} rows of {given.runs} runs", end="; ")
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        token = create(service.engine, f"load-{time.time_ns()}", ("read", "submit"), "load")
        service.engine.dispose()
        if given.plans:
            plans(config, token, given.rows, given.runs)
        with serving(config, given.processes) as (port, process):
            print(f"{'':20} {'reads/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'processor ms':>13}", flush=True)
            for kind, one in questions(given.rows, given.runs).items():
                before = processor_s(process)
                rate, took = measure(port, token, one, given.reads, given.clients)
                each_s = (processor_s(process) - before) / len(took)
                cuts = statistics.quantiles(took, n=100)
                print(
                    f"{kind:20} {rate:8,.0f} {cuts[49] * 1e3:8.1f} {cuts[98] * 1e3:8.1f} {each_s * 1e3:13.2f}",
                    flush=True,
                )
            if given.uploaders:
                print(upload_at_once(port, token, given.uploaders, folder / "uploads"))


if __name__ == "__main__":
    main()
