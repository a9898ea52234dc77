"""The import rule at run time: each package, imported in a child process, brings in no package that it may not know.

Complements import-linter, which reads sources and so cannot see what a third-party package imports in turn.
"""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).with_name("import_probe.py")
SOURCES = {"paritygate": ROOT / "harness", "jax_llama4": ROOT / "impl"}

TORCH = ("torch", "transformers")
JAX = ("jax", "jaxlib", "flax")

# package: what may not be in sys.modules after every module of it has been imported.
FORBIDDEN = {
    "paritygate": (*TORCH, *JAX, "pandas"),
    "paritygate.core": (*TORCH, *JAX, "pandas", "jinja2", "typer", "rich"),
    "paritygate.catalog": (*TORCH, *JAX, "pandas"),
    "paritygate.metrics": (*TORCH, *JAX, "pandas"),
    "paritygate.store": (*TORCH, *JAX),
    "paritygate.reference": (*JAX, "paritygate.replay", "jax_llama4"),
    "paritygate.audit": (*TORCH, "flax", "paritygate.reference", "paritygate.replay"),
    "paritygate.replay": (*TORCH, "paritygate.reference"),
    "paritygate.judge": (*TORCH, *JAX),
    "paritygate.report": (*TORCH, *JAX, "paritygate.judge"),
    "paritygate.service": (*TORCH, *JAX),
    "paritygate.client": (*TORCH, *JAX, "fastapi", "sqlalchemy", "pandas"),
    "paritygate.cli": (*TORCH, *JAX, "fastapi", "sqlalchemy"),
    "paritygate.testing": (*TORCH, *JAX),
    "jax_llama4": (*TORCH, "paritygate"),
}


class Imported(NamedTuple):
    brought: dict[str, str]  # forbidden package: the module whose import brought it in
    failed: dict[str, str]  # module: why it could not be imported


def modules_of(package: str, source: Path) -> Iterator[str]:
    """`package` and all modules below it, found in the source folder without importing anything."""
    yield package
    folder = source.joinpath(*package.split("."))
    for info in pkgutil.iter_modules([str(folder)]):
        name = f"{package}.{info.name}"
        if info.ispkg:
            yield from modules_of(name, source)
        else:
            yield name


def subpackages(package: str, source: Path) -> set[str]:
    return {f"{package}.{info.name}" for info in pkgutil.iter_modules([str(source / package)]) if info.ispkg}


def import_in_child(modules: Iterable[str], forbidden: Iterable[str], path: Iterable[Path]) -> Imported:
    order = {"path": [str(folder) for folder in path], "modules": list(modules), "forbidden": list(forbidden)}
    child = subprocess.run(
        # -I: neither PYTHONPATH nor the current folder may help a module to be found
        [sys.executable, "-I", str(PROBE), json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert child.returncode == 0, child.stderr
    return Imported(**json.loads(child.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_and_brings_in_nothing_forbidden(package: str) -> None:
    source = SOURCES[package.partition(".")[0]]
    # The root alone: its packages each have a row, and some of them may know what the root may not.
    modules = [package] if package == "paritygate" else list(modules_of(package, source))
    imported = import_in_child(modules, FORBIDDEN[package], SOURCES.values())
    assert imported == Imported(brought={}, failed={})


def test_every_package_has_a_row() -> None:
    assert subpackages("paritygate", SOURCES["paritygate"]) <= set(FORBIDDEN)


def write_package(folder: Path, name: str, **modules: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    for module, text in modules.items():
        (folder / name / f"{module}.py").write_text(text)


def test_the_check_can_fail(tmp_path: Path) -> None:
    write_package(tmp_path, "forbidden_one", inner="")
    write_package(
        tmp_path,
        "planted",
        a_clean="import json",
        b_guilty="def f():\n    pass\nfrom forbidden_one import inner",
        c_lazy="def f():\n    import forbidden_two",
        d_broken="import no_such_module_anywhere",
    )
    write_package(tmp_path, "forbidden_two")

    modules = list(modules_of("planted", tmp_path))
    assert modules == [f"planted{end}" for end in ("", ".a_clean", ".b_guilty", ".c_lazy", ".d_broken")]
    imported = import_in_child(modules, ["forbidden_one", "forbidden_two"], [tmp_path])
    # The import inside a function is allowed: that is how the command line reaches torch and jax.
    assert imported.brought == {"forbidden_one": "planted.b_guilty"}
    assert list(imported.failed) == ["planted.d_broken"]
    assert "no_such_module_anywhere" in imported.failed["planted.d_broken"]


def test_modules_are_found_in_nested_packages(tmp_path: Path) -> None:
    write_package(tmp_path, "outer", leaf="")
    write_package(tmp_path / "outer", "inner", deep="")
    assert sorted(modules_of("outer", tmp_path)) == ["outer", "outer.inner", "outer.inner.deep", "outer.leaf"]
