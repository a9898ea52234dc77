"""How names, numbers, times and addresses are written on a page.

Every name that a run brings is hostile text. Jinja escapes what is markup; what would only look like something else
(control characters, marks that turn the direction of text) is written by its number.
"""

import time
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_DAY_S = 24 * 3600


def visible(text: str) -> str:
    """The same with what nobody sees written as its number: `a\u202eb` is `a⟨202E⟩b`."""
    return _numbered(text, "⟨{:04X}⟩")


def exactly(text: str) -> Markup:
    """For a field that is sent back: escaped, and every character kept, as a reference where nobody sees it."""
    return Markup(_numbered(str(escape(text)), "&#x{:x};"))


def _numbered(text: str, form: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(form.format(ord(c)) if unicodedata.category(c) in _UNSEEN else c for c in text)


def clip(text: str, most: int = 60) -> str:
    """For where there is no room for more, such as the title of a tab."""
    return text if len(text) <= most else text[: most - 1] + "…"


def url(*parts: str | int, **query: str | int | None) -> str:
    """`url("projects", name, "runs", branch="main")`: each part quoted whole, a query without what is empty."""
    return with_query("".join("/" + quote(str(part), safe="") for part in parts) or "/", query)


def with_query(path: str, query: Mapping[str, str | int | None]) -> str:
    asked = {name: str(value) for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(asked, quote_via=quote, safe='')}" if asked else path


def when(at: float | None) -> Markup | str:
    """A time of the last week as how long it is ago, an older one as its day; both in full in the tip."""
    if at is None:
        return "never"
    moment, ago = datetime.fromtimestamp(at, UTC), time.time() - at
    said = f"{moment:%-d %b %Y}" if ago >= 7 * _DAY_S or ago < -60 else _span(max(ago, 0)) + " ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{moment:%Y-%m-%dT%H:%M:%SZ}", f"{moment:%Y-%m-%d %H:%M:%S} UTC", said
    )


def until(at: float) -> str:
    """How long it is until then."""
    left = at - time.time()
    return f"in {_span(left)}" if left > 0 else f"{_span(-left)} ago"


def _span(length_s: float) -> str:
    for unit, unit_s in (("d", _DAY_S), ("h", 3600), ("min", 60)):
        if length_s >= unit_s:
            return f"{int(length_s // unit_s)} {unit}"
    return f"{int(length_s)} s"


def size(number_bytes: float) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number_bytes >= 2**power:
            return f"{number_bytes / 2**power:.3g} {unit}"
    return f"{int(number_bytes)} B"


# What a word that is no verdict to worry about is shown as; any other is bad.
TONES: Mapping[str, str] = {
    **dict.fromkeys(("pass", "done", "fixed", "better"), "good"),
    **dict.fromkeys(("skipped", "accepted", "incomplete", "nothing compared", "unjudged", "gone", "new"), "warn"),
    **dict.fromkeys(("cancelled", "queued", "equal", "bit-identical", "absent"), "muted"),
    **dict.fromkeys(("leased", "running"), "run"),
}


def words(text: str) -> str:
    """`over_budget` as it is said."""
    return str(text).replace("_", " ")


def tone(word: str) -> str:
    """The class of a verdict, a status, or a state; what is not known to be well is bad."""
    return TONES.get(words(word), "bad")
