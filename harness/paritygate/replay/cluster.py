"""One command on every host of a cluster: the process that JAX numbers 0 plans, gathers and judges, the others work.

Also the child that JAX runs in for that, started as a file: it knows of JAX and of nothing else, and gathers lines.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paritygate.replay.executor import Gathered
    from paritygate.replay.job import Job

_END = ""  # what the first process says in place of a job


class Cluster:
    """This process among those of the cluster; `gather` is called by all of them, and each is told what all say."""

    def __init__(self) -> None:
        """Waits for the others. Raises UsageError where JAX detects no cluster."""
        from paritygate.core.errors import UsageError

        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `leave`
        self._child = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"},
        )
        assert self._child.stdout is not None
        if not (line := self._child.stdout.readline()):
            raise UsageError(
                "no cluster", where="--processes auto", got=self._last_words(), try_="--processes N, on one machine"
            )
        self.number, self.processes, self.host = json.loads(line)

    def gather(self, text: str) -> list[str]:
        """What every process says, in their order; raises InfrastructureError where one is lost."""
        from paritygate.core.errors import InfrastructureError

        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(text) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InfrastructureError("a process of the cluster was lost", got=self._last_words())
        return json.loads(line)

    def leave(self) -> None:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()
        self._log.close()

    def _last_words(self) -> str:
        self._child.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip() and not line.startswith(" ")]
        return next((line for line in lines if "heartbeat timeout" in line), lines[-1] if lines else "nothing")


@contextmanager
def joined() -> Iterator[Cluster]:
    """The cluster, until this process is through with it: then the first one tells the others that it was all."""
    from paritygate.core.errors import InfrastructureError

    cluster = Cluster()
    try:
        yield cluster
    finally:
        with suppress(InfrastructureError):  # said by whoever met it first
            if cluster.number == 0:
                cluster.gather(_END)
        cluster.leave()


def lead(
    cluster: Cluster,
    jobs: "Sequence[Job]",
    folder: Path,
    timeout_s: float,
    compile_cache: Path | None,
    gathered: "Gathered",
) -> None:
    """Runs jobs on all processes, one after another, until one is lost: then what is left is for another time."""
    from paritygate.core.codec import to_json
    from paritygate.core.errors import InfrastructureError
    from paritygate.replay.executor import run_all
    from paritygate.replay.processes import Local, free_port

    try:
        for job in jobs:
            place = (0, f"{cluster.host}:{free_port()}")
            cluster.gather(json.dumps([to_json(job), place[1]]))
            known = len(gathered.problems)
            run_all([job], folder, Local(1, place), timeout_s, compile_cache, gathered)
            said = [problem for text in cluster.gather("[]")[1:] for problem in json.loads(text)]
            gathered.problems[known:] = [*said, *gathered.problems[known:]]
            if gathered.problems[known:]:
                break
    except InfrastructureError as reason:
        gathered.problems.append(str(reason).replace("\n", "; "))


def follow(cluster: Cluster, timeout_s: float, compile_cache: Path | None) -> list[str]:
    """Works on what the first process says; returns what went wrong here."""
    from paritygate.core.codec import from_json
    from paritygate.replay.executor import Gathered, prepare_cache, run_all
    from paritygate.replay.job import Job
    from paritygate.replay.processes import Local

    class Silent(Gathered):
        def found(self, message: dict[str, Any], number: int) -> None:
            """Only the first process says what it finds."""

    prepare_cache(compile_cache)
    gathered = Silent()
    with tempfile.TemporaryDirectory(prefix="paritygate-") as folder:
        (Path(folder) / "workers").mkdir()
        while (order := cluster.gather("")[0]) != _END:
            job, coordinator = json.loads(order)
            place = (cluster.number, coordinator)
            known = len(gathered.problems)
            run_all([from_json(Job, job)], Path(folder), Local(1, place), timeout_s, compile_cache, gathered)
            cluster.gather(json.dumps(gathered.problems[known:]))
    return gathered.problems


def main() -> None:
    """The child: each line is a text of this process, and is answered by those of all."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Gloo prints
    import jax
    import numpy as np
    from jax._src import distributed  # the only place that says which address the others have reached
    from jax.experimental import multihost_utils

    jax.distributed.initialize()
    host = (distributed.global_state.coordinator_address or "").rpartition(":")[0]
    print(json.dumps([jax.process_index(), jax.process_count(), host]), file=answers)
    for line in sys.stdin:
        text = np.frombuffer(line.encode(), np.uint8)
        lengths = np.asarray(multihost_utils.process_allgather(np.asarray([text.size], np.int32))).ravel()
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: text.size] = text
        every = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(lengths), -1)
        said = [json.loads(row[:length].tobytes()) for row, length in zip(every, lengths, strict=True)]
        print(json.dumps(said), file=answers)


if __name__ == "__main__":
    main()
