"""What Prometheus asks for: requests by route, what was uploaded, and, counted when it asks, runs, jobs and workers."""

import os
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paritygate.service.tables import project, run, task, worker

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_SEEN_S = 120.0  # a worker that was heard of since is one that is there


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, engine: Engine):
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("paritygate_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "paritygate_request_seconds",
            "Until the answer was sent.",
            labels[:2],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.uploads = Counter("paritygate_uploads", "Runs that arrived whole.", registry=self.registry)
        self.bytes = Counter("paritygate_upload_bytes", "Bytes of files taken, unpacked.", registry=self.registry)
        self._counted = _Counted(engine)
        self.registry.register(self._counted)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application with each request counted under its route's template, so that labels stay few."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status = time.perf_counter(), 500

            async def say(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, say)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self.requests.labels(method, route, str(status)).inc()
                self.seconds.labels(method, route).observe(time.perf_counter() - began)

        return counted

    def text(self) -> bytes:
        """Of all processes of the server, if it has several."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
            registry.register(self._counted)
        return generate_latest(registry)


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Counted(Collector):
    """What the database knows, counted when it is asked: several servers of one database say the same."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def describe(self) -> list[Metric]:
        return []  # or the registry would ask the database for names as it is made

    def collect(self) -> Iterator[Metric]:
        with self.engine.connect() as connection:
            of_project = select(project.c.name, run.c.verdict, func.count()).join_from(run, project)
            runs = GaugeMetricFamily("paritygate_runs", "Runs by verdict.", labels=("project", "verdict"))
            for name, verdict, count in connection.execute(of_project.group_by(project.c.name, run.c.verdict)):
                runs.add_metric((name, verdict), count)
            tasks = GaugeMetricFamily("paritygate_tasks", "Tasks of jobs by state.", labels=("state",))
            for state, count in connection.execute(select(task.c.state, func.count()).group_by(task.c.state)):
                tasks.add_metric((state,), count)
            seen = select(func.count()).select_from(worker).where(worker.c.seen >= time.time() - _SEEN_S)
            workers = GaugeMetricFamily("paritygate_workers", f"Workers heard of in {_SEEN_S:.0f} s.")
            workers.add_metric((), connection.execute(seen).scalar_one())
        yield from (runs, tasks, workers)
