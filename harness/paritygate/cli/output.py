"""Printing: lines, JSON, and lines that `--quiet` leaves out."""

import json
from typing import Any

from paritygate.cli.verb import Settings
from paritygate.core.codec import to_json


def say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


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
