"""Starts one worker process per JAX environment and gathers their drifts.

Reads goldens; writes `<runs>/<id>/run.json`, `drifts.jsonl` (each line flushed as it comes) and `workers/`.
"""

import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from paritygate.catalog.select import families, meshes, policies, spec_hash
from paritygate.core.cell import Cell, Mode
from paritygate.core.codec import canonical, readable
from paritygate.core.errors import GoldenError, InfrastructureError, NothingComparedError
from paritygate.core.family import Case, Family
from paritygate.core.golden import GRADIENTS, Golden
from paritygate.core.run import Run, RunInfo, write_atomic
from paritygate.core.site import address
from paritygate.replay.job import Environment, Job
from paritygate.store.golden import GoldenStore

WORKER = Path(__file__).with_name("worker.py")
_GRACE_S = 5.0


def replay(
    suite: str,
    cases: list[Case],
    cells: list[Cell],
    modes: list[Mode],
    store: GoldenStore,
    runs: Path,
    command: tuple[str, ...],
    *,
    extensions: tuple[Path, ...] = (),
    workers: int | None = None,
    timeout_s: float = 1800.0,
    compile_cache: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Run:
    """Replays `cases` in `cells` and returns the run, not yet judged.

    Raises GoldenError before any worker starts where a golden is missing, stale or corrupt. A worker that dies or runs
    out of time is recorded in the run's `problems`; its rows will be missing.
    """
    if not cases or not cells or not modes:
        raise NothingComparedError(
            "nothing to replay", got=f"{len(cases)} cases, {len(cells)} cells, {len(modes)} modes"
        )
    total = _check_goldens(suite, cases, cells, modes, store) * len(cells)
    if compile_cache is not None:
        compile_cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_foreign(compile_cache)
    started = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
    run_id = f"{stamp}-{suite}-{secrets.token_hex(2)}"
    info = RunInfo(
        id=run_id,
        suite=suite,
        cases=tuple(case.id for case in cases),
        cells=tuple(map(str, cells)),
        modes=tuple(map(str, modes)),
        started=stamp,
        command=command,
        goldens={case.id: store.manifest_hash(suite, case.id) for case in cases},
        versions={"paritygate": version("paritygate"), "python": sys.version.split()[0]},
    )
    folder = runs / run_id
    (folder / "workers").mkdir(parents=True)
    # Until the end is written, the run says that it did not reach it: a killed run is no result.
    run = Run(folder, info).save(replace(info, problems=("the run did not finish",)))
    jobs = plan(suite, cases, cells, modes, store, extensions)
    gathered = _Gathered(folder / "drifts.jsonl", total, progress)
    limit = workers or max(1, min(len(jobs), os.cpu_count() or 1))
    _run_all(jobs, folder, limit, timeout_s, str(compile_cache or ""), gathered)
    info = replace(
        info,
        workers=tuple(gathered.records),
        wall_s=round(time.time() - started, 3),
        compilations=sum(int(record["compilations"]) for record in gathered.records),
        peak_memory_bytes=sum(int(record["peak_memory_bytes"]) for record in gathered.records),
        problems=tuple(gathered.problems),
    )
    run = run.save(info)
    return run


def _check_goldens(suite: str, cases: list[Case], cells: list[Cell], modes: list[Mode], store: GoldenStore) -> int:
    """Raises GoldenError unless every golden is whole and of today's spec; returns how many drifts a cell will have."""
    store.require(suite, [case.id for case in cases])
    known, rows, total = families(), policies(), 0
    for case in cases:
        golden, family = store.read(suite, case.id), known[case.family]
        stale = {
            "spec": (spec_hash(case, family)[:12], golden.spec[:12]),
            "ports": (_asked(case, family), _held(golden)),
        }
        for policy in (rows[cell.dtype] for cell in cells):
            stale[f"peer of {policy.name}"] = (policy.peer, golden.peers.get(policy.name, policy.peer))
        for what, (expected, got) in stale.items():
            if expected != got:
                raise GoldenError(
                    f"golden is stale: its {what} is not what the catalog says today",
                    where=f"{suite}/{case.id}",
                    expected=str(expected)[:400],
                    got=str(got)[:400],
                    try_=f"paritygate capture {case.id}",
                )
        total += sum(len(set(port.modes) & set(modes)) for port in golden.ports)
    if not total:
        raise NothingComparedError("the goldens hold nothing to compare", where=suite)
    return total


def _asked(case: Case, family: Family) -> list[str]:
    """The values that the family wants of a case, but for gradients, whose names only the reference knows."""
    sites = family.sites_for(family.preset(case.preset), family.prompt(case.prompt))
    return sorted(
        address(site.name, port.name, call) for site in sites for port in site.ports for call in range(site.calls)
    )


def _held(golden: Golden) -> list[str]:
    return sorted(port.address for port in golden.ports if port.site != GRADIENTS)


def _refuse_foreign(cache: Path) -> None:
    status = cache.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InfrastructureError(
            "compile cache can be written by others, and what it holds is run as code",
            where=str(cache),
            expected="yours, mode 0700",
            try_=f"chmod 700 {cache}, or --no-compile-cache",
        )


def plan(
    suite: str,
    cases: list[Case],
    cells: list[Cell],
    modes: list[Mode],
    store: GoldenStore,
    extensions: tuple[Path, ...] = (),
) -> list[Job]:
    """One job per environment, its cells in the order asked for."""
    known, rows, grids = families(), policies(), meshes()
    groups: dict[Environment, tuple[dict[Case, None], dict[Cell, None]]] = {}
    for cell in cells:
        for case in cases:
            interpreter = known[case.family].candidate.interpreter or sys.executable
            environment = Environment(interpreter, cell.platform, rows[cell.dtype].x64, grids[cell.mesh].devices)
            of_case, of_cell = groups.setdefault(environment, ({}, {}))
            of_case[case] = None
            of_cell[cell] = None
    return [
        Job(
            environment,
            str(store.root.resolve()),
            suite,
            tuple(of_case),
            tuple(of_cell),
            tuple(modes),
            {case.family: known[case.family] for case in of_case},
            {cell.dtype: rows[cell.dtype] for cell in of_cell},
            tuple(str(Path(directory).resolve()) for directory in extensions),
        )
        for environment, (of_case, of_cell) in groups.items()
    ]


class _Gathered:
    """What the workers have said so far; drifts go to the file line by line."""

    def __init__(self, path: Path, total: int, progress: Callable[[int, int, str], None]):
        self._file = path.open("w")
        self.total, self.progress = total, progress
        self.done = 0
        self.records: list[dict[str, Any]] = []
        self.problems: list[str] = []

    def line(self, text: str, worker: "_Worker") -> None:
        """Takes one line of a worker: a drift, its record when it is done, or why it failed."""
        message = json.loads(text)
        if "drift" in message:
            drift = message["drift"]
            self._file.write(canonical(drift) + "\n")
            self._file.flush()
            self.done += 1
            self.progress(self.done, self.total, f"{drift['cell']} {drift['case']}")
        elif "done" in message:
            worker.done = True
            self.records.append(message["done"])
        elif "failed" in message:
            worker.said_why = True
            self.problems.append(f"{worker.name}: {message['failed']}")

    def close(self) -> None:
        self._file.close()


@dataclass
class _Worker:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_path: Path
    deadline: float
    unread: bytes = b""
    stopped: bool = False
    said_why: bool = False
    done: bool = False

    @property
    def name(self) -> str:
        return "worker for " + ", ".join(map(str, self.job.cells))

    def close(self) -> None:
        self.log.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _run_all(
    jobs: list[Job], folder: Path, limit: int, timeout_s: float, compile_cache: str, gathered: _Gathered
) -> None:
    waiting = list(enumerate(jobs))
    running: list[_Worker] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        stack.callback(gathered.close)
        stack.callback(lambda: _stop(running))
        while waiting or running:
            while waiting and len(running) < limit:
                number, job = waiting.pop(0)
                worker = _start(number, job, folder, timeout_s, compile_cache)
                running.append(worker)
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            for key, _ in selector.select(timeout=0.2):
                worker = key.data
                chunk = os.read(key.fd, 1 << 16)
                *lines, worker.unread = (worker.unread + chunk).split(b"\n")
                for line in lines:
                    gathered.line(line.decode(), worker)
                if not chunk:
                    selector.unregister(key.fileobj)
                    running.remove(worker)
                    _end(worker, gathered)
            for worker in running:
                if time.monotonic() > worker.deadline and not worker.stopped:
                    worker.stopped = True
                    gathered.problems.append(f"{worker.name} ran longer than {timeout_s:g} s and was stopped")
                    worker.process.kill()


def _start(number: int, job: Job, folder: Path, timeout_s: float, compile_cache: str) -> _Worker:
    path = folder / "workers" / f"{number}.job.json"
    write_atomic(path, readable(job).encode())
    log_path = path.with_name(f"{number}.log")
    log = log_path.open("wb")
    try:
        process = subprocess.Popen(
            [job.environment.interpreter, "-P", str(WORKER), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **job.environment.variables(compile_cache)},
        )
    except OSError as reason:
        log.close()
        raise InfrastructureError(
            "worker cannot be started", where=job.environment.interpreter, got=str(reason), try_="paritygate doctor"
        ) from reason
    return _Worker(job, process, log, log_path, time.monotonic() + timeout_s)


def _end(worker: _Worker, gathered: _Gathered) -> None:
    code = worker.process.wait()
    worker.close()
    if code == 0 and worker.done:
        return
    tail = worker.log_path.read_text(errors="replace").strip().splitlines()[-1:]
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    if not worker.stopped and not worker.said_why:
        gathered.problems.append(
            f"{worker.name} {how}: {tail[0] if tail else 'no output'} (see {worker.log_path.name})"
        )


def _stop(running: list[_Worker]) -> None:
    """Ends workers that are still there: the run was interrupted, or another worker could not be started."""
    for worker in running:
        worker.process.terminate()
    for worker in running:
        try:
            worker.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.close()
