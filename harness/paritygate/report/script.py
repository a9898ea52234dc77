"""The page's one script, of our ES modules in `static/`: each a function of its own, in the order that imports ask for.

A page without network cannot import, and a policy of hashes lets in what is inline, so the modules are joined. Only the
forms that this file knows are allowed; each module stays one that a browser, or a linter, takes as it is.
"""

import re
from pathlib import Path

from paritygate.core.errors import HarnessError

ENTRY = "main.js"
IMPORT = re.compile(r'^import \{([^}]+)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function (\w+)|const (\w+))", re.MULTILINE)
NAME = re.compile(r"\w+")


def join(folder: Path, entry: str = ENTRY) -> str:
    """The script of `entry` and all that it imports; raises HarnessError on a form that cannot be joined."""
    written: dict[str, str] = {}
    _add(folder, entry, (), written)
    return '"use strict";\n' + "\n".join(written.values())


def _add(folder: Path, name: str, asked_by: tuple[str, ...], written: dict[str, str]) -> None:
    if name in written:
        return
    if name in asked_by:
        raise _refused(folder / name, "modules that can be put in an order", " → ".join((*asked_by, name)))
    path = folder / name
    if not path.is_file():
        raise _refused(path, f"a module, which {asked_by[-1] if asked_by else 'the page'} imports", "no such file")
    text = path.read_text()
    for _, imported in IMPORT.findall(text):
        _add(folder, imported, (*asked_by, name), written)
    written[name] = _wrapped(folder, name, text)


def _wrapped(folder: Path, name: str, text: str) -> str:
    """The module as a function that returns what it exports."""
    exported = exports(text)
    for names, imported in IMPORT.findall(text):
        lacking = sorted(set(NAME.findall(names)) - set(exports((folder / imported).read_text())))
        if lacking:
            raise _refused(folder / name, f"names that {imported} exports", ", ".join(lacking))
    body = EXPORT.sub("", IMPORT.sub(lambda found: f"const {{{found[1]}}} = {_variable(found[2])};", text))
    left = re.search(r"^\s*(?:import|export)\b.*|</script>?", body, re.MULTILINE)
    if left:
        raise _refused(
            folder / name, 'import { a } from "./b.js"; export function, async function or const', left[0].strip()
        )
    return f"const {_variable(name)} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();"


def exports(text: str) -> list[str]:
    """The names that a module exports."""
    return [function or constant for function, constant in EXPORT.findall(text)]


def _variable(name: str) -> str:
    return "module_" + re.sub(r"\W", "_", name.removesuffix(".js"))


def _refused(path: Path, expected: str, got: str) -> HarnessError:
    return HarnessError(
        what="a module of the report's page cannot be joined",
        where=path.name,
        expected=expected,
        got=got,
        try_="write it so, or teach report/script.py the form",
    )
