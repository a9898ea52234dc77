"""Views as HTML: the templates, what they know, and the style that all pages share."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2

import paritygate.report
from paritygate import __version__
from paritygate.report.words import count, number, seconds, times
from paritygate.service import charts
from paritygate.service.words import clip, exactly, size, tone, until, url, visible, when, words

HERE = Path(__file__).parent


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    made.filters |= {
        "count": count, "number": number, "seconds": seconds, "times": times, "when": when, "until": until,
        "size": size, "tone": tone, "exactly": exactly, "clip": clip, "words": words,
    }  # fmt: skip
    known = {"url": url, "style": style_address(), "charts": charts, "version": __version__}
    made.globals |= known  # pyright: ignore[reportAttributeAccessIssue]
    return made


@cache
def style() -> str:
    """The report's look, and what only the service has."""
    report = Path(paritygate.report.__path__[0]) / "static" / "report.css"
    return report.read_text() + "\n" + (HERE / "static" / "service.css").read_text()


@cache
def style_address() -> str:
    """Named by its content, so that a browser may keep it for ever."""
    return f"/static/{sha256(style().encode()).hexdigest()[:16]}.css"


def render(template: str, **given: Any) -> str:
    return environment().get_template(template).render(**given)
