"""Who works on a run beside this process: processes of a mesh, a cluster that runs one command, nodes of Ray."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paritygate.cli.options import ExecutorName
from paritygate.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from paritygate.replay.cluster import Cluster
    from paritygate.replay.executor import Executor


@dataclass(frozen=True)
class Shared:
    """How many processes a mesh lies over, and the cluster that they are of, where they are of one.

    `executor` says where workers are; None for here.
    """

    processes: int
    cluster: "Cluster | None" = None
    executor: "Executor | None" = None

    @property
    def is_led(self) -> bool:
        """Whether another process judges, and this one works for it."""
        return self.cluster is not None and self.cluster.number > 0


@contextmanager
def shared_by(text: str, executor: ExecutorName, address: str, workers: int | None) -> Iterator[Shared]:
    """What `--processes` and `--executor` say."""
    on_ray = executor is ExecutorName.RAY
    if address and not on_ray:
        raise UsageError("an address of nothing", where=f"--address {address}", expected="--executor ray beside it")
    if text == "auto" and on_ray:
        raise UsageError("two clusters", where="--processes auto --executor ray", expected="one of them")
    if text == "auto":
        from paritygate.replay.cluster import joined

        with joined() as cluster:
            yield Shared(cluster.processes, cluster)
    elif text.isdecimal() and int(text) > 0:
        if on_ray:
            from paritygate.replay.on_ray import on_ray as cluster_of

            with cluster_of(address, workers) as nodes:
                yield Shared(int(text), executor=nodes)
        else:
            yield Shared(int(text))
    else:
        raise UsageError("bad number of processes", where=f"--processes {text}", expected="1, 2, ... or auto")


def follow_run(shared: Shared, timeout_s: float, compile_cache: Path | None) -> ExitCode:
    """Works for the process that judges."""
    from paritygate.cli.output import say
    from paritygate.replay.cluster import follow

    assert shared.cluster is not None
    problems = follow(shared.cluster, timeout_s, compile_cache)
    say(f"process {shared.cluster.number} of {shared.processes} worked; process 0 judges", *problems)
    return ExitCode.INFRASTRUCTURE if problems else ExitCode.PASS
