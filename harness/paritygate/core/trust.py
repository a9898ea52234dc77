"""Where a token may go: over TLS, or to this machine; or wherever somebody says that the network between is theirs."""

import re
from typing import Literal

from paritygate.core.errors import UsageError

Trust = Literal["https", "any-network"]
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def refuse_overheard(scheme: str, host: str, trust: Trust) -> None:
    """Raises UsageError where a token that goes to this host could be overheard."""
    if trust == "https" and scheme != "https" and not _LOOPBACK.fullmatch(host):
        raise UsageError(
            "the token would be sent unencrypted",
            where=host,
            expected="https, or a service on this machine",
            try_="https://; or --plain-http where the network in between is yours alone",
        )
