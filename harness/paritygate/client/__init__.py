"""Talking to a service: runs, rows and gates in Python, uploads, and the worker. See README.md."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paritygate.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """`from paritygate.client import Client`, when it is asked for: it needs the extra, and not all here does."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from paritygate.client.client import Client

    return Client
