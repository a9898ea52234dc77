"""What every metric file must have, and that its example is true."""

import doctest
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import paritygate.metrics
from paritygate.core.registry import extend
from paritygate.core.site import Kind
from paritygate.metrics.base import metrics

NAMES = ["agreement", "cosine", "kl", "max_abs", "max_ulp", "rel_l2", "sqnr", "top1"]


def test_the_metrics_there_are():
    assert list(metrics()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_example_is_true(name):
    module = importlib.import_module(f"paritygate.metrics.{name}")
    result = doctest.testmod(module)
    assert result.attempted >= 1, f"{name} has no example"
    assert result.failed == 0
    assert module.METRIC.name == name


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_formula_range_and_direction(name):
    module = importlib.import_module(f"paritygate.metrics.{name}")
    lines = (module.__doc__ or "").splitlines()
    for heading in ("Formula:", "Range:", "Better:"):
        assert sum(line.startswith(heading) for line in lines) == 1, f"{name}: {heading}"
    better = next(line for line in lines if line.startswith("Better:"))
    assert better.startswith(f"Better: {module.METRIC.better}")


def test_an_example_that_is_wrong_is_noticed():
    module = type(sys)("wrong")
    module.__doc__ = ">>> 1 + 1\n3\n"
    assert doctest.testmod(module, report=False, verbose=False).failed == 1


@pytest.mark.parametrize("name", NAMES)
def test_exact_is_zero_drift_and_finite(name):
    metric = metrics()[name]
    for value in (np.zeros((2, 3)), np.array([[1.0, -2.0, 3.0]]), np.array([[5e-324, 1e-310, 0.0]])):
        measured = metric.compute(value, value.copy(), "float32")
        if name == "sqnr":
            assert measured == 400.0
        else:
            assert metric.drift(measured) == 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("golden", "got"),
    [(0.0, 1.0), (1.0, 0.0), (1e308, -1e308), (5e-324, 1.0), (1e-200, 1e200), (-1.7e308, 5e-324), (0.0, 5e-324)],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_extreme_values_give_a_finite_number(name, golden, got, dtype):
    one, other = np.array([[golden, 1.0]]), np.array([[got, 1.0]])
    assert np.isfinite(metrics()[name].compute(one, other, dtype))


def test_a_metric_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "planted.py").write_text(
        "from paritygate.core.site import Kind\n"
        "from paritygate.metrics.base import Metric\n"
        "METRIC = Metric('planted', (Kind.FLOAT,), '', 'lower', lambda golden, got, dtype: 7.0)\n"
    )
    monkeypatch.setattr(paritygate.metrics, "__path__", list(paritygate.metrics.__path__))
    monkeypatch.setattr(sys, "path", list(sys.path))
    extend([tmp_path])
    try:
        from paritygate.metrics.measure import measure

        value = np.ones((1, 2))
        assert measure(value, value, kind=Kind.FLOAT, role="", layout="B D", real=None).metrics["planted"] == 7.0
    finally:
        sys.modules.pop("paritygate.metrics.planted", None)
    monkeypatch.undo()
    assert list(metrics()) == NAMES
