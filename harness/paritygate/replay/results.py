"""What the workers of a run say, into its folder as it comes: lines of results, and `run.json`, always up to date.

A kill at any moment leaves a run that says that it did not finish, and whole lines, but for the last.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paritygate.core.codec import canonical, from_json
from paritygate.core.errors import ReplayInterrupted
from paritygate.core.progress import SILENT, Progress
from paritygate.core.run import Repeat, Run
from paritygate.replay.cluster import Cluster, lead
from paritygate.replay.executor import Executor, Gathered, run_all
from paritygate.replay.job import Job

UNFINISHED = "the run did not finish"
_KINDS = ("drift", "inspection", "finding", "program")  # each has a file: `drifts.jsonl`


class Results(Gathered):
    """Results of `run`, behind those that it has.

    `check` may refuse a worker by its record, which comes before the first value of a candidate.
    """

    def __init__(
        self,
        run: Run,
        progress: Progress = SILENT,
        check: Callable[[dict[str, Any]], None] = lambda record: None,
        cluster: Cluster | None = None,
    ):
        super().__init__(progress)
        self.run, self.check, self.cluster = run, check, cluster
        self.started = time.monotonic()
        self.repeats: list[Repeat] = []
        self.values: list[dict[str, Any]] = []

    def of(self, jobs: Sequence[Job], executor: Executor, timeout_s: float, compile_cache: Path | None) -> Run:
        """Runs the jobs. Raises ReplayInterrupted at Ctrl-C."""
        self.files = {kind: (self.run.folder / f"{kind}s.jsonl").open("a") for kind in _KINDS}
        try:
            self.save()
            if self.cluster is not None:
                shared = [job for job in jobs if job.environment.processes > 1]
                lead(self.cluster, shared, self.run.folder, timeout_s, compile_cache, self)
                jobs = [] if self.problems else [job for job in jobs if job not in shared]
            run_all(jobs, self.run.folder, executor, timeout_s, compile_cache, self)
        except KeyboardInterrupt as by:
            self.save(["the run was interrupted"])
            raise ReplayInterrupted(self.run.folder, by) from None
        finally:
            for file in self.files.values():
                file.close()
        (self.run.folder / "rows.jsonl").unlink(missing_ok=True)  # judged of fewer drifts, when the run is resumed
        return self.save(self.problems)

    def save(self, problems: Sequence[str] = (UNFINISHED,)) -> Run:
        before = self.run.info
        workers, repeats = [*before.workers, *self.records], [*before.repeats, *self.repeats]
        peak = sum(int(record["peak_memory_bytes"]) for record in self.records)
        return self.run.save(
            replace(
                before,
                workers=tuple(workers),
                wall_s=round(before.wall_s + time.monotonic() - self.started, 3),
                compilations=sum(int(record["compilations"]) for record in workers),
                peak_memory_bytes=max(before.peak_memory_bytes, peak),
                repeats=tuple(sorted(repeats, key=lambda repeat: before.cells.index(repeat.cell))),
                problems=tuple(problems),
            )
        )

    def recorded(self, number: int, member: int, record: dict[str, Any]) -> None:
        self.check(record)
        super().recorded(number, member, record)
        self.save()

    def found(self, message: dict[str, Any], number: int) -> None:
        if "repeat" in message:
            self.repeats.append(from_json(Repeat, message["repeat"]))
            self.save()
            return
        if "value" in message:
            self.values.append(message["value"])
            return
        for kind, value in message.items():
            self.files[kind].write(canonical(value) + "\n")
            self.files[kind].flush()
        if drift := message.get("drift"):
            self.progress.done(number, drift["cell"], drift["case"])
