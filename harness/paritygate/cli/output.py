"""Printing: lines, JSON, and lines that `--quiet` leaves out."""

import json
import re
from typing import Any, TextIO

from paritygate.cli.verb import Settings
from paritygate.core.codec import to_json

# All that gives a terminal orders, but what turns a line and what chooses a colour.
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[\d;]*m)")


def say(*lines: str, to: TextIO | None = None) -> None:
    """Prints lines, to standard output if `to` is left out; names in them come from runs, which may be anybody's."""
    for line in lines:
        print(_ORDERS.sub("?", line), flush=True, file=to)


def note(settings: Settings, *lines: str) -> None:
    """Says what is not the verdict."""
    if not settings.quiet:
        say(*lines)


def say_headed(settings: Settings, text: str) -> None:
    """Says a text whose first line is the verdict."""
    say(text.partition("\n")[0] if settings.quiet else text.rstrip())


def say_json(value: Any) -> None:
    print(json.dumps(to_json(value), indent=1, ensure_ascii=False))


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
