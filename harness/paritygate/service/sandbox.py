"""Files of a run, where they can do nothing: somebody sent them."""

import re
from pathlib import Path

KEPT = "sandbox; default-src 'none'"  # of a file that is never to be shown
_HEAD_BYTES = 2048  # where the report says which style and script are its own
_HASH = r"'sha256-[A-Za-z0-9+/]{43}='"
_OWN = re.compile(rf"style-src ({_HASH}); script-src ({_HASH});")


def policy_of(report: Path) -> str:
    """With no origin, so that a report has neither cookie nor storage, and with nobody whom it may ask anything.

    Of a report as paritygate writes them only its own style and script are taken, whatever a name in it turns out to
    be; of any other no script.
    """
    with report.open("rb") as file:
        said = _OWN.search(file.read(_HEAD_BYTES).decode(errors="replace"))
    style, script = said.groups() if said else ("'unsafe-inline'", "'none'")
    return (
        f"sandbox allow-scripts; default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )
