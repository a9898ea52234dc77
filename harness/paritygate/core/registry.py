"""Extension points: packages in which each module is one row. Adding a file adds the row.

A directory outside the package may add rows too: its subfolders, named as below, extend the packages below, and the
directory itself is put on `sys.path` for the code that a family names.
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
    "faults": "paritygate.catalog.faults",
    "metrics": "paritygate.metrics",
    "sections": "paritygate.report.sections",
    "verbs": "paritygate.cli.verbs",
}


def extend(directories: Iterable[str | Path]) -> None:
    """Adds the rows found in `directories` to the extension points. Raises UsageError where one is no directory."""
    for directory in map(Path, directories):
        if not directory.is_dir():
            raise UsageError("extension directory does not exist", where=str(directory))
        directory = directory.resolve()  # one directory is one row of the paths, however it is written
        if str(directory) not in sys.path:
            sys.path.append(str(directory))
        for folder, package in EXTENSION_POINTS.items():
            path = str(directory / folder)
            paths = importlib.import_module(package).__path__ if Path(path).is_dir() else None
            if paths is not None and path not in paths:
                paths.append(path)


def discover(package: str, attribute: str, cls: type[T]) -> dict[str, T]:
    """The `attribute` of every module in `package` that has one, by its `name`, sorted by module name.

    Raises UsageError where a module cannot be imported, the attribute is of another type, two modules claim one name,
    or two folders have a file of one name, the second of which Python would never read.
    """
    found: dict[str, T] = {}
    for module_name, file in _files(package):
        try:
            module = importlib.import_module(f"{package}.{module_name}")
        except Exception as reason:
            got = f"{type(reason).__name__}: {reason}"
            raise UsageError("file cannot be imported", where=file, got=got) from reason
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


def _files(package: str) -> list[tuple[str, str]]:
    """(module name, path) of every module in the folders of `package`, sorted."""
    files: dict[str, str] = {}
    for folder in importlib.import_module(package).__path__:
        for info in pkgutil.iter_modules([folder]):
            file = str(Path(folder) / f"{info.name}.py")
            if info.name in files:
                raise UsageError("two files of one name", where=file, got=files[info.name], try_="rename one of them")
            files[info.name] = file
    return sorted(files.items())


def load(dotted: str) -> Any:
    """The object that `module:name` names. Raises UsageError with the reason where it cannot be imported."""
    module_name, colon, name = dotted.partition(":")
    if not (module_name and colon and name):
        raise UsageError("bad dotted name", where=dotted, expected="module:name")
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as reason:  # a file of the user's may raise anything
        raise UsageError("cannot load code", where=dotted, got=f"{type(reason).__name__}: {reason}") from reason
    try:
        for part in name.split("."):
            target = getattr(target, part)
    except AttributeError as reason:
        raise UsageError("cannot load code", where=dotted, got=str(reason)) from reason
    return target
