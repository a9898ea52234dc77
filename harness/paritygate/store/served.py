"""What a server shows of its goldens, so that `golden pull` can read them from it: the folder's own layout, as files.

A server answers `GET …/api/goldens/` and `…/api/goldens/SUITE/` with `page_of(store, "")` and `page_of(store, SUITE)`,
as `text/html`, and every other path with the file that `served_file` finds. Nothing else in the folder is reachable.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from paritygate.store.golden import GoldenStore
from paritygate.store.remote import is_name

_GOLDEN = re.compile(r"(?P<suite>[^/]+)/(?P<case>[^/]+)\.json")
_OBJECT = re.compile(r"objects/([0-9a-f]{2})/(?P<name>\1[0-9a-f]{62})\.safetensors")


def served_file(store: GoldenStore, path: str) -> Path | None:
    """The file behind a path that a stranger asks for; None where there is none, or it is not for strangers."""
    if found := _OBJECT.fullmatch(path):
        file = store.objects.path(found["name"])
    elif (found := _GOLDEN.fullmatch(path)) and is_name(found["suite"]) and is_name(found["case"]):
        file = store.path(found["suite"], found["case"])
    else:
        return None
    return file if file.is_file() else None


def page_of(store: GoldenStore, folder: str) -> str | None:
    """The page of links, HTML, that stands for a folder: the suites, or the cases of one. None where there is none."""
    names = [f"{suite}/" for suite, _ in _goldens(store)] if not folder else []
    names += [f"{case}.json" for suite, case in _goldens(store) if suite == folder]
    if folder and not names:
        return None
    links = "".join(
        f'<li><a href="{name}">{name}</a></li>\n' for name in dict.fromkeys(names)
    )  # names that need no escape
    return f"<!doctype html>\n<title>Goldens</title>\n<ul>\n{links}</ul>\n"


def _goldens(store: GoldenStore) -> Iterator[tuple[str, str]]:
    for suite in filter(is_name, store.suites()):
        yield from ((suite, case) for case in store.cases(suite) if is_name(case))
