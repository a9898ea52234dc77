"""Rows of the site pages as packed columns: JSON, gzip, base64, read by `static/data.js`.

Texts are indices into one table of strings and floats keep four digits: a row costs about 100 bytes of the page.
"""

import base64
import gzip
import json
import math
from typing import Any

from paritygate.core.drift import Row
from paritygate.report.parts import SitePage
from paritygate.report.squares import square
from paritygate.report.words import bound, metric_words, row_words

TEXT_COLUMNS = (
    *("case", "cell", "mode", "port", "verdict", "diagnosis", "origin", "words", "reason", "value", "problem"),
    *("square", "look"),  # what stands in the row's square, and its classes
)


def pack(pages: tuple[SitePage, ...]) -> str:
    """Base64 text of every page's rows, in the order of the pages."""
    strings: dict[str, int] = {}

    def index(text: str) -> int:
        return strings.setdefault(text, len(strings))

    rows = [row for page in pages for row in page.rows]
    columns: dict[str, list[Any]] = {name: [] for name in (*TEXT_COLUMNS, "judgements", "metrics", "worst")}
    for row in rows:
        for name, text in _texts(row).items():
            columns[name].append(index(text))
        columns["judgements"].append(
            [
                value
                for j in row.judgements
                for value in (
                    index(metric_words(row, j)),
                    _short(j.value),
                    _short(j.floor),
                    _short(j.ratio) if max(j.floor, j.minimum) > 0 else None,
                    _short(bound(j)),
                    index(j.rule),
                    int(j.ok),
                )
            ]
        )
        judged = {j.metric for j in row.judgements}
        only_measured = sorted((name, value) for name, value in row.drift.metrics.items() if name not in judged)
        columns["metrics"].append([v for name, value in only_measured for v in (index(name), _short(value))])
        # The difference is packed too: in float64 it lies beyond the digits that are kept of both values.
        elements = [(list(e.index), _long(e.golden), _long(e.got), _short(e.got - e.golden)) for e in row.drift.worst]
        columns["worst"].append([value for element in elements for value in element])
    data = {"sizes": [len(page.rows) for page in pages], "strings": list(strings), "columns": columns}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _texts(row: Row) -> dict[str, str]:
    drift, place = row.drift, square([row])
    return {
        "case": drift.case,
        "cell": drift.cell,
        "mode": drift.mode,
        "port": drift.port + (f"#{drift.call}" if drift.call else ""),
        "verdict": row.verdict.value,
        "diagnosis": row.diagnosis.value,
        "origin": row.origin,
        "words": row_words(row),
        "reason": row.accepted or row.reason,
        "value": f"{drift.kind} {drift.dtype} ({drift.layout}) {list(drift.shape)}",
        "problem": drift.problem + (f": {drift.detail}" if drift.detail else ""),
        "square": f"{place.mark} {place.text}".strip(),
        "look": f"{place.state} l{place.level}",
    }


def _short(value: float) -> float | str:
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def _long(value: float) -> float | str:
    return float(f"{value:.9g}") if math.isfinite(value) else str(value)
