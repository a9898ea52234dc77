"""Extension points: packages in which each module is one row. Adding a file adds the row.

A directory outside the package may add rows too: its subfolders `families`, `dtypes`, `metrics`, `sections` and `verbs`
extend the packages below, and the directory itself is put on `sys.path` for the code that a family names.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from paritygate.core.errors import UsageError

T = TypeVar("T")

EXTENSION_POINTS = {
    "families": "paritygate.catalog.families",
    "dtypes": "paritygate.catalog.dtypes",
    "metrics": "paritygate.metrics",
    "sections": "paritygate.report.sections",
    "verbs": "paritygate.cli.verbs",
}


def extend(directories: Iterable[str | Path]) -> None:
    """Adds the rows found in `directories` to the extension points. Raises UsageError on a path that is no directory."""
    for directory in map(Path, directories):
        if not directory.is_dir():
            raise UsageError("extension directory does not exist", where=str(directory))
        if str(directory) not in sys.path:
            sys.path.append(str(directory))
        for folder, package in EXTENSION_POINTS.items():
            path = str(directory / folder)
            paths = importlib.import_module(package).__path__ if Path(path).is_dir() else None
            if paths is not None and path not in paths:
                paths.append(path)


def discover(package: str, attribute: str, cls: type[T]) -> dict[str, T]:
    """The `attribute` of every module in `package` that has one, by its `name`, sorted by module name.

    Raises UsageError where the attribute is of another type or two modules claim one name.
    """
    found: dict[str, T] = {}
    for module_info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{package}.{module_info.name}")
        row = getattr(module, attribute, None)
        if row is None:
            continue
        if not isinstance(row, cls):
            raise UsageError("wrong type", where=f"{module.__name__}.{attribute}", expected=cls.__name__)
        name: str = row.name  # type: ignore[attr-defined]
        if name in found:
            raise UsageError(f"two modules define {attribute} {name!r}", where=module.__name__)
        found[name] = row
    return found


def load(dotted: str) -> Any:
    """The object that `module:name` names. Raises UsageError with the reason where it cannot be imported."""
    module_name, colon, name = dotted.partition(":")
    if not colon:
        raise UsageError("bad dotted name", where=dotted, expected="module:name")
    try:
        target: Any = importlib.import_module(module_name)
        for part in name.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as reason:
        raise UsageError("cannot load code", where=dotted, got=str(reason)) from reason
    return target
