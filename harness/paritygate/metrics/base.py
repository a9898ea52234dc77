"""What a metric is, and the arithmetic that all of them share. Reads and writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import ml_dtypes
import numpy as np

import paritygate.metrics
from paritygate.core.registry import discover
from paritygate.core.site import Kind

# Stands for infinity and for what float64 cannot hold: result files are JSON, which has no word for it.
LARGEST = 1e300


@dataclass(frozen=True)
class Metric:
    """A pure function (golden, candidate) → number.

    `compute` is given both values as float64 (rows, features), real tokens only and finite, and the name of the
    candidate's own dtype; it returns a finite number. `kinds` are the values it applies to; a `role` restricts it to
    ports of that role. `absolute` says that it is in the units of the value, not relative to its size.
    """

    name: str
    kinds: tuple[Kind, ...]
    unit: str
    better: Literal["lower", "higher"]
    compute: Callable[[np.ndarray, np.ndarray, str], float]
    role: str = ""
    absolute: bool = False

    def applies(self, kind: str, role: str) -> bool:
        return kind in self.kinds and self.role in ("", role)

    def drift(self, value: float) -> float:
        """What is judged: the value where lower is better, else 1 - value, so that 0 is always exact."""
        return value if self.better == "lower" else 1.0 - value


def metrics() -> dict[str, Metric]:
    """Every metric by name."""
    return _metrics(tuple(paritygate.metrics.__path__))


@cache
def _metrics(paths: tuple[str, ...]) -> dict[str, Metric]:
    # Keyed by the package's folders: an extension directory adds one.
    return discover("paritygate.metrics", "METRIC", Metric)


def norm(values: np.ndarray) -> float:
    """√Σx², without overflow or underflow on the way; at most LARGEST."""
    flat = values.ravel()
    with np.errstate(over="ignore", under="ignore"):
        squares = float(np.dot(flat, flat))
        if 1e-200 < squares < 1e200:
            return squares**0.5
        peak = float(np.abs(flat).max(initial=0.0))
        if peak == 0.0:
            return 0.0
        scaled = flat / min(peak, LARGEST)
        return min(peak * float(np.dot(scaled, scaled)) ** 0.5, LARGEST)


def difference(golden: np.ndarray, got: np.ndarray) -> np.ndarray:
    """got - golden, each element at most LARGEST in magnitude."""
    with np.errstate(over="ignore"):
        return np.clip(got - golden, -LARGEST, LARGEST)


def quotient(part: float, whole: float) -> float:
    """part / whole with 0/0 = 0 (nothing differs from nothing) and x/0 = LARGEST."""
    if part == 0.0:
        return 0.0
    return min(part / whole, LARGEST) if whole > part / LARGEST else LARGEST


@lru_cache
def float_format(dtype: str) -> tuple[int, int]:
    """(stored mantissa bits, exponent of the smallest normal number) of a float dtype by name.

    Raises ValueError where it is no float dtype.
    """
    info = ml_dtypes.finfo(np.dtype(dtype))
    return int(info.nmant), int(info.minexp)


def unit_roundoff(dtype: str) -> float:
    """Half the distance from 1 to the next float: 2^-53 for float64, 2^-24 for float32, 2^-11 and 2^-8."""
    return 2.0 ** -(float_format(dtype)[0] + 1)
