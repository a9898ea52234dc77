"""The server: uvicorn around the application, in this process or in several that listen at one socket."""

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from socket import socket
from typing import Literal

from paritygate.core.errors import InfrastructureError
from paritygate.service.config import ServiceConfig

Says = Literal["problems", "each request"]

_END_S = 10  # that answers under way are given when the service ends
_BEGUN_S = 10.0  # one that ends sooner would end again
_LOG = logging.getLogger(__name__)


def serve_on(at: socket, config: ServiceConfig, behind: str, says: Says, processes: int = 1) -> None:
    """Until it is ended by a signal, when what was under way is answered.

    Of several processes one that dies is begun again; raises InfrastructureError where it dies as it begins. What a
    proxy says of a caller is believed of `behind` only.
    """
    if processes == 1:
        _serve(at, config, behind, says)
        return
    _say()
    with tempfile.TemporaryDirectory(prefix="paritygate-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # in which each process counts, and any of them says for all
        begun: dict[SpawnProcess, float] = {}
        try:
            while True:
                while len(begun) < processes:
                    process = _SPAWN.Process(target=_child, args=(at, config, behind, says))
                    process.start()
                    begun[process] = time.monotonic()
                wait([process.sentinel for process in begun])
                for process in [each for each in begun if not each.is_alive()]:
                    _LOG.warning("process %s ended with %s", process.pid, process.exitcode)
                    if time.monotonic() - begun.pop(process) < _BEGUN_S:
                        got = f"exit code {process.exitcode}, see above"
                        raise InfrastructureError("process of the service ended as it began", got=got)
        finally:
            _end(list(begun))


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


def _child(at: socket, config: ServiceConfig, behind: str, says: Says) -> None:
    """Ends with its parent, however that ends: or it would keep the socket from the next."""
    parent = multiprocessing.parent_process()
    assert parent

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    with suppress(KeyboardInterrupt):  # which a terminal sends to all of them, and the first one says
        _serve(at, config, behind, says)


def _serve(at: socket, config: ServiceConfig, behind: str, says: Says) -> None:
    """h11 reads requests, also where a faster parser is installed: it is the stricter one."""
    import uvicorn

    from paritygate.service.app import create_app

    _say()
    uvicorn.Server(
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
