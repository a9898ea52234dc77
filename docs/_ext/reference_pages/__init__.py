"""Sphinx extension: a line `% generated: NAME ARGUMENTS` of a page becomes what NAME makes of the code.

What it makes is Markdown, put into the source before it is parsed, so that headings, links and the search see it.
Nothing of it is kept in a file. Code that has no documentation is an UndocumentedError, which fails the build.
"""

import re
from collections.abc import Callable
from typing import Any

from reference_pages.api import python_api
from reference_pages.catalog import arithmetics, axes, cells, metrics, policies, sections, targets
from reference_pages.cli import environment, exit_codes, verbs
from reference_pages.formats import files, format_versions, records, table_of_files
from reference_pages.markdown import UndocumentedError
from reference_pages.nouns import diagnoses, nouns, verdicts

GENERATORS: dict[str, Callable[..., str]] = {
    made.__name__: made
    for made in (
        arithmetics, axes, cells, diagnoses, environment, exit_codes, files, format_versions, metrics, nouns, policies,
        python_api, records, sections, table_of_files, targets, verbs, verdicts,
    )
}  # fmt: skip
LINE = re.compile(r"^% generated: (?P<name>\w+)(?P<arguments>[^\n]*)$", re.M)


def filled(source: str) -> str:
    """A page with its generated parts. Raises UndocumentedError where there is no such generator."""

    def made(line: re.Match[str]) -> str:
        name = line["name"]
        if name not in GENERATORS:
            raise UndocumentedError(f"no generator {name!r}; there are {', '.join(GENERATORS)}")
        return GENERATORS[name](*line["arguments"].split())

    return LINE.sub(made, source)


def setup(app: Any) -> dict[str, bool]:
    def fill(_app: Any, _page: str, source: list[str]) -> None:
        source[0] = filled(source[0])

    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
