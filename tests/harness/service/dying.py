"""Processes of a server that serve nobody: each does what its number says, in the order in which they are begun."""

import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from socket import socket

from paritygate.service.config import ServiceConfig

SERVES = ("until the end", "and dies")  # the first two; those behind them die before they serve


def child(at: socket, config: ServiceConfig, behind: str, says: str, serves: Event) -> None:
    number = _number(config.data)
    if number < len(SERVES):
        serves.set()
    if number == 0:
        while not (config.data / "3").exists():
            time.sleep(0.02)
    elif number == 1:
        while not (config.data / "0").exists():
            time.sleep(0.02)
    sys.exit(number)


def _number(folder: Path) -> int:
    for number in range(100):
        try:
            (folder / str(number)).touch(exist_ok=False)
            return number
        except FileExistsError:
            continue
    raise AssertionError
