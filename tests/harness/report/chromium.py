"""The Chromium that the report's page is tested and drawn in, and how it is started."""

import shutil

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def executable() -> str | None:
    """The browser of this machine, where there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
