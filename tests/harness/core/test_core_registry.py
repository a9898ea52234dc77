"""Extension points: a file is a row, in the package or in a directory beside it; what cannot be read is said."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paritygate.core import registry
from paritygate.core.errors import UsageError
from paritygate.core.registry import EXTENSION_POINTS, discover, extend, load


@dataclass(frozen=True)
class Animal:
    name: str


ANIMAL = "from animals_row import Animal\nANIMAL = Animal({name!r})\n"


@pytest.fixture
def animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `animals` as an extension point of that name, with one row, and a directory of rows beside it."""
    package = tmp_path / "inside" / "animals"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "base.py").write_text('"""No row."""\n')
    (package / "owl.py").write_text(ANIMAL.format(name="owl"))
    (tmp_path / "beside" / "animals").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "inside")])
    monkeypatch.setitem(EXTENSION_POINTS, "animals", "animals")
    row = type(sys)("animals_row")
    row.Animal = Animal
    monkeypatch.setitem(sys.modules, "animals_row", row)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "animals"]:
        del sys.modules[name]


def names() -> list[str]:
    return list(discover("animals", "ANIMAL", Animal))


def test_every_module_with_the_attribute_is_a_row(animals: Path) -> None:
    assert names() == ["owl"]
    (animals / "inside" / "animals" / "ant.py").write_text(ANIMAL.format(name="zebra"))
    assert names() == ["zebra", "owl"], "sorted by file, known by name"


def test_a_directory_adds_rows_and_code(animals: Path) -> None:
    (animals / "beside" / "animals" / "eel.py").write_text(ANIMAL.format(name="eel"))
    (animals / "beside" / "animal_sounds.py").write_text("def owl(): return 'hu'\n")
    extend([animals / "beside"])
    extend([str(animals / "beside"), animals / "inside" / ".." / "beside"])  # again, and written otherwise
    assert names() == ["eel", "owl"]
    assert load("animal_sounds:owl")() == "hu"
    assert sys.path.count(str(animals / "beside")) == 1


def test_a_directory_may_extend_nothing(animals: Path) -> None:
    (animals / "empty").mkdir()
    extend([animals / "empty"])
    assert names() == ["owl"]


def test_a_directory_that_is_not_there(animals: Path) -> None:
    with pytest.raises(UsageError, match=r"^extension directory does not exist: .*nowhere$"):
        extend([animals / "nowhere"])


def test_two_modules_of_one_name_are_refused(animals: Path) -> None:
    (animals / "beside" / "animals" / "tawny.py").write_text(ANIMAL.format(name="owl"))
    extend([animals / "beside"])
    with pytest.raises(UsageError, match=r"^two modules define ANIMAL 'owl': animals\.tawny$"):
        names()


def test_a_file_that_another_of_its_name_would_hide_is_refused(animals: Path) -> None:
    hidden = animals / "beside" / "animals" / "owl.py"
    hidden.write_text(ANIMAL.format(name="barn owl"))
    extend([animals / "beside"])
    with pytest.raises(UsageError) as refused:
        names()
    assert str(refused.value) == (
        f"two files of one name: {hidden}\n"
        f"  got       {animals / 'inside' / 'animals' / 'owl.py'}\n"
        "  try       rename one of them"
    )


def test_an_attribute_of_another_type_is_refused(animals: Path) -> None:
    (animals / "inside" / "animals" / "fake.py").write_text("ANIMAL = 'fake'\n")
    with pytest.raises(UsageError, match=r"^wrong type: animals\.fake\.ANIMAL\n  expected  Animal$"):
        names()


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: invalid syntax"),
    ],
)
def test_a_broken_file_is_named(animals: Path, text: str, got: str) -> None:
    file = animals / "beside" / "animals" / "broken.py"
    file.write_text(text)
    extend([animals / "beside"])
    with pytest.raises(UsageError) as refused:
        names()
    assert str(refused.value).startswith(f"file cannot be imported: {file}\n  got       {got}")


def test_every_extension_point_is_a_package() -> None:
    for folder, package in EXTENSION_POINTS.items():
        if package.startswith("paritygate."):
            assert registry.importlib.import_module(package).__path__, folder


def test_load_finds_nested_names() -> None:
    assert load("pathlib:Path.cwd")() == Path.cwd()


@pytest.mark.parametrize(
    ("dotted", "text"),
    [
        ("pathlib.Path", "bad dotted name: pathlib.Path\n  expected  module:name"),
        ("pathlib:", "bad dotted name: pathlib:\n  expected  module:name"),
        (":Path", "bad dotted name: :Path\n  expected  module:name"),
        (
            "no_such_module_here:x",
            "cannot load code: no_such_module_here:x\n  got       ModuleNotFoundError: No module",
        ),
        ("pathlib:Paht", "cannot load code: pathlib:Paht\n  got       module 'pathlib' has no attribute 'Paht'"),
        ("raising:x", "cannot load code: raising:x\n  got       RuntimeError: not on this machine"),
    ],
)
def test_what_cannot_be_loaded_is_said(dotted: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raising.py").write_text("raise RuntimeError('not on this machine')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError) as refused:
        load(dotted)
    assert str(refused.value).startswith(text)
