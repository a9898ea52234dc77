"""No test holds a tolerance of its own: each comes from tests/limits.py, which gives its reason, and none is hidden."""

import ast
import inspect
import math
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]

TOLERANCES = {"rtol", "atol", "rel_tol", "abs_tol"}
# call: the keywords it must be given, for what is left out has a default that is a tolerance
HIDING = {
    "assert_allclose": {"rtol"},
    "allclose": {"rtol", "atol"},
    "isclose": {"rtol", "atol"},
    "assert_close": {"rtol", "atol"},
    "approx": {"rel", "abs"},
}
DECIMALS = {"assert_almost_equal", "assert_array_almost_equal", "assert_approx_equal", "assertAlmostEqual"}


def literal_tolerances(text: str) -> list[tuple[int, str]]:
    """(line number, what is wrong) of every tolerance in a Python source that is not 0 and not a product of limit()."""
    found = []
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        wanted = HIDING.get(name, set())
        if name == "isclose" and "rel_tol" in given:  # that of math, whose abs_tol is 0
            wanted = set()
        if name in DECIMALS or (len(call.args) > 2 and wanted):
            found.append((call.lineno, f"{name} with decimals or a tolerance by position"))
        elif missing := wanted - given.keys():
            found.append((call.lineno, f"{name} hides a default for {', '.join(sorted(missing))}"))
        for keyword in given.keys() & (TOLERANCES | wanted):
            if not _has_a_reason(given[keyword]):
                found.append((call.lineno, f"{keyword}={ast.unparse(given[keyword])}"))
    return sorted(found)


def _has_a_reason(value: ast.expr) -> bool:
    """0, or an expression with limit(...) in it and no number beside."""
    if isinstance(value, ast.Constant):
        return value.value == 0
    limits = [node for node in ast.walk(value) if isinstance(node, ast.Call) and ast.unparse(node.func) == "limit"]
    inside = {id(node) for limit in limits for node in ast.walk(limit)}
    numbers = [
        node for node in ast.walk(value) if isinstance(node, ast.Constant) and isinstance(node.value, float | int)
    ]
    return bool(limits) and all(id(number) in inside for number in numbers)


def test_no_test_holds_a_tolerance() -> None:
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 40
    found = [
        f"{file.relative_to(TESTS)}:{number}: {problem}"
        for file in files
        for number, problem in literal_tolerances(file.read_text(encoding="utf-8"))
    ]
    assert not found, "compare through tests/limits.py instead:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("torch.testing.assert_close(a, b, rtol=1e-5, atol=0)", "rtol=1e-05"),
        ("torch.testing.assert_close(a, b)", "assert_close hides a default for atol, rtol"),
        ("close(a, b, **dict(atol = 1e-5))", "atol=1e-05"),
        ("assert a == pytest.approx(b)", "approx hides a default for abs, rel"),
        ("assert a == approx(b, rel=limit('sum', 'f64'))", "approx hides a default for abs"),
        ("assert np.allclose(a, b)", "allclose hides a default for atol, rtol"),
        ("assert np.allclose(a, b, 1e-3)", "allclose with decimals or a tolerance by position"),
        ("assert math.isclose(a, b, rel_tol=1e-9)", "rel_tol=1e-09"),
        ("assert_allclose(\n a, b, atol=limit('sum', 'f64'))", "assert_allclose hides a default for rtol"),
        ("assert_allclose(a, b, rtol=limit('sum', 'f64') * 10)", "rtol=limit('sum', 'f64') * 10"),
        ("assert_allclose(a, b, rtol=TOLERANCE)", "rtol=TOLERANCE"),
        ("assert_allclose(a, b, rtol=False or 2)", "rtol=False or 2"),
        ("np.testing.assert_almost_equal(a, b)", "assert_almost_equal with decimals or a tolerance by position"),
    ],
)
def test_the_check_can_fail(text: str, problem: str) -> None:
    assert literal_tolerances(f"x = 1\n{text}\n") == [(2, problem)]


def test_what_has_a_reason_is_let_through() -> None:
    text = """
x = "rtol=1 pytest.approx(2)"  # atol=3
assert_allclose(a, b, rtol=limit("dot", "f64", 6) * np.abs(b).max())
assert_allclose(a, b, rtol=0, atol=limit("sum", "f32", 24))
assert np.allclose(a, b, rtol=0, atol=0.0)
assert math.isclose(a, b, rel_tol=limit("sum", "f64"))
assert a == b and difference(a, b) <= limit("sum", "f64")
"""
    assert literal_tolerances(text) == []


def test_the_words_are_those_of_the_libraries() -> None:
    for call in (np.testing.assert_allclose, np.allclose, np.isclose):
        assert HIDING[call.__name__] <= inspect.signature(call).parameters.keys()
    assert {"rel_tol", "abs_tol"} <= inspect.signature(math.isclose).parameters.keys()
    assert HIDING["approx"] <= inspect.signature(pytest.approx).parameters.keys()
