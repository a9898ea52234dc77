"""The server: uvicorn around the application, in this process or in several that listen at one socket."""

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from socket import socket
from typing import Literal

from paritygate.core.errors import InfrastructureError
from paritygate.service.config import ServiceConfig

Says = Literal["problems", "each request"]

_PAUSE_S = 1.0  # before another takes the place of one that could not begin
_END_S = 10  # that answers under way are given when the service ends
_LOG = logging.getLogger(__name__)


def serve_on(at: socket, config: ServiceConfig, behind: str, says: Says, processes: int = 1) -> None:
    """Until it is ended by a signal, when what was under way is answered.

    Of several processes one that dies is begun again. Raises InfrastructureError where one dies before it serves, and
    no other does. What a proxy says of a caller is believed of `behind` only.
    """
    if processes == 1:
        _serve(at, config, behind, says)
        return
    _say()
    with tempfile.TemporaryDirectory(prefix="paritygate-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # in which each process counts, and any of them says for all
        children: dict[SpawnProcess, Event] = {}
        try:
            while True:
                while len(children) < processes:
                    serves = _SPAWN.Event()
                    process = _SPAWN.Process(target=_child, args=(at, config, behind, says, serves))
                    process.start()
                    children[process] = serves
                wait([process.sentinel for process in children])
                for process in [each for each in children if not each.is_alive()]:
                    served = children.pop(process).is_set()
                    if not served and not any(each.is_set() for each in children.values()):  # nor would the next
                        got = f"exit code {process.exitcode}, see above"
                        raise InfrastructureError("process of the service ended before it served", got=got)
                    _LOG.warning("process %s ended with %s", process.pid, process.exitcode)
                    if not served:  # the database may be away for now
                        time.sleep(_PAUSE_S)
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
            _end(list(children))


# Not a fork: of one process with threads and connections to a database nothing good is copied.
_SPAWN = multiprocessing.get_context("spawn")


def _end(processes: list[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + _END_S + 5
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        process.kill()
        process.join()


def _child(at: socket, config: ServiceConfig, behind: str, says: Says, serves: Event) -> None:
    """Ends with its parent, however that ends: or it would keep the socket from the next."""
    parent = multiprocessing.parent_process()
    assert parent

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    def begun() -> None:
        serves.set()
        _LOG.info("process %s serves", os.getpid())

    threading.Thread(target=watch, daemon=True).start()
    with suppress(KeyboardInterrupt):  # which a terminal sends to all of them, and the first one says
        _serve(at, config, behind, says, begun)


def _serve(
    at: socket, config: ServiceConfig, behind: str, says: Says, serves: Callable[[], None] = lambda: None
) -> None:
    """h11 reads requests, also where a faster parser is installed: it is the stricter one."""
    import uvicorn

    from paritygate.service.app import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            serves()

    _say()
    Server(
        uvicorn.Config(
            create_app(config),
            http="h11",
            ws="none",
            log_config=None,
            access_log=says == "each request",
            server_header=False,
            proxy_headers=bool(behind),
            forwarded_allow_ips=behind or None,
            timeout_graceful_shutdown=_END_S,
        )
    ).run(sockets=[at])


def _say() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
