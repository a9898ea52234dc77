"""Sphinx extension: a page that asks another host for anything is a warning, and so fails the build.

Links that a reader may follow are no requests; scripts, styles, fonts, pictures and frames are.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.util import logging

_ELSEWHERE = r"""["']?\s*(?:https?:)?//(?!www\.w3\.org/)"""
REQUESTS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        rf"<(?:script|img|iframe|source|video|audio|embed|use)\b[^>]*\b(?:src|srcset|href)\s*=\s*{_ELSEWHERE}",
        rf"<link\b(?=[^>]*\brel\s*=\s*[\"']?[^\"'>]*(?:stylesheet|icon|preload|preconnect|prefetch))[^>]*\bhref\s*=\s*{_ELSEWHERE}",
        rf"@import\s+(?:url\()?\s*{_ELSEWHERE}",
        rf"url\(\s*{_ELSEWHERE}",
    )
)


def requests(text: str) -> list[str]:
    """What a page, or a style, would load from elsewhere."""
    return [found[0] for pattern in REQUESTS for found in pattern.finditer(text)]


def setup(app: Any) -> dict[str, bool]:
    def look(app: Any, failed: Exception | None) -> None:
        for file in () if failed else sorted(Path(app.outdir).rglob("*")):
            if file.suffix in (".html", ".css"):
                for found in requests(file.read_text(encoding="utf-8")):
                    logging.getLogger(__name__).warning("%s is loaded from elsewhere: %s", file.name, found[:120])

    app.connect("build-finished", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
