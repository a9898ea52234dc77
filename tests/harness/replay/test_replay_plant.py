"""Planting a fault: the change is seen everywhere while it is planted, and nowhere after; no file is touched."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from paritygate.core.errors import UsageError
from paritygate.core.fault import Patch
from paritygate.replay.plant import check, planted

HERE = Path(__file__).parent


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A fresh module `plant_target`, and a second one that imported a function of it."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE)])
    import plant_target

    importer = ModuleType("plant_importer")
    importer.double = plant_target.double
    monkeypatch.setitem(sys.modules, "plant_importer", importer)
    return plant_target


TRIPLE = Patch("plant_target:double", "x * 2", "x * 3")


def test_a_change_is_seen_wherever_the_function_is_known_and_undone(target: ModuleType) -> None:
    before = vars(target) | {}
    text = (HERE / "plant_target.py").read_bytes()
    with planted([TRIPLE]):
        assert target.double(1) == 3
        assert sys.modules["plant_importer"].double(1) == 3
    assert target.double(1) == 2 and sys.modules["plant_importer"].double(1) == 2
    assert vars(target) == before
    assert (HERE / "plant_target.py").read_bytes() == text


def test_nothing_compiled_or_cached_survives_on_either_side(target: ModuleType) -> None:
    assert (int(target.doubled_twice(1)), target.table(3)) == (4, (0, 2, 4))
    with planted([TRIPLE]):
        assert (int(target.doubled_twice(1)), target.table(3)) == (9, (0, 3, 6))
    assert (int(target.doubled_twice(1)), target.table(3)) == (4, (0, 2, 4))


@pytest.mark.parametrize(
    ("patch", "read", "value"),
    [
        (Patch("plant_target:Child.value", "+ 10", "+ 20"), lambda t: t.Child().value(), 21),
        (Patch("plant_target:Base.value", "return 1", "return 2"), lambda t: t.Child().value(), 12),
        (Patch("plant_target:Child.fixed", "3", "4"), lambda t: t.Child.fixed(), 4),
        (Patch("plant_target:Child.half", "// 2", "+ 1"), lambda t: t.Child().half, 12),
        (Patch("plant_target:doubled_twice", "double(double(x))", "double(x)"), lambda t: int(t.doubled_twice(1)), 2),
        (Patch("plant_target:table", "range(size)", "range(2)"), lambda t: t.table(3), (0, 2)),
    ],
    ids=["super", "parent", "staticmethod", "property", "jit", "cache"],
)
def test_a_function_keeps_its_class_and_its_decorators(target: ModuleType, patch, read, value) -> None:
    before = read(target)
    with planted([patch]):
        assert read(target) == value
        assert hasattr(target.table, "cache_clear") and hasattr(target.doubled_twice, "lower")
    assert read(target) == before != value


def test_two_changes_of_one_function_and_one_of_another(target: ModuleType) -> None:
    child = "plant_target:Child.value"
    with planted([Patch(child, "+ 10", "- 10"), Patch(child, "super()", "Child()"), TRIPLE]):
        with pytest.raises(RecursionError):
            target.Child().value()
        assert target.double(1) == 3


def test_a_failure_while_planted_undoes_it(target: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError), planted([TRIPLE]):
        raise ZeroDivisionError
    assert target.double(1) == 2


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (
            Patch("plant_target:double", "x * 4", "x"),
            f"patch does not apply: plant_target:double in {HERE / 'plant_target.py'}\n"
            "  expected  exactly once: 'x * 4'\n  got       0 times",
        ),
        (Patch("plant_target:doubled_twice", "double(", "("), "  got       2 times"),
        (Patch("plant_target:Child.missing", "a", "b"), "cannot load code: plant_target:Child.missing"),
        (Patch("plant_target:Child.__eq__", "a", "b"), "function is inherited: plant_target:Child.__eq__"),
        (Patch("plant_target:Child", "a", "b"), "not a function: plant_target:Child\n  got       type"),
        (Patch("plant_target:double", "return x * 2", "return x *"), "invalid syntax"),
    ],
)
def test_a_patch_that_does_not_apply_says_so(target: ModuleType, patch: Patch, said: str) -> None:
    (text,) = check([patch])
    assert said in text
    with pytest.raises((UsageError, SyntaxError)), planted([patch]):
        pass
    assert target.double(1) == 2


def test_a_planted_function_says_its_file_and_the_lines_that_it_has_there(target: ModuleType) -> None:
    """So that a line of it is named as a reader would; what is put in moves what is behind it."""
    child = Patch("plant_target:Child.value", "super()", "(lambda: super(Child, self))()")
    before = target.Child.value.__code__
    with planted([child]):
        code = target.Child.value.__code__
        (inner,) = (each for each in code.co_consts if hasattr(each, "co_qualname"))
        assert code is not before
        assert (code.co_filename, code.co_firstlineno) == (before.co_filename, before.co_firstlineno)
        assert (code.co_qualname, inner.co_qualname) == ("Child.value", "Child.value.<locals>.<lambda>")
