"""The drift of one value from its golden: every metric that applies, after what cannot be averaged was counted.

Used for the candidate's values and for the peers' (whose drift is the noise floor), so that both are the same number.
Reads and writes nothing.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite

import ml_dtypes
import numpy as np

from paritygate.core.drift import Element
from paritygate.core.errors import UsageError
from paritygate.core.histogram import Histogram
from paritygate.core.layout import real_rows
from paritygate.core.ratios import Ratios
from paritygate.core.site import Kind
from paritygate.core.where import Where
from paritygate.metrics.base import difference, metrics, norm, unit_roundoff
from paritygate.metrics.histogram import histogram
from paritygate.metrics.ratios import ratios
from paritygate.metrics.where import where

WORST = 5
_ALLOWED = {Kind.FLOAT: ("float",), Kind.INDEX: ("integer",), Kind.MASK: ("bool", "integer")}
_EXACT_BELOW = 2**53  # integers up to here are exact in float64


@dataclass(frozen=True)
class Measured:
    """What one comparison found. `metrics` is empty where there is a `problem`: `mismatch` or `nonfinite`.

    `scale` is the golden's largest magnitude over the compared rows; `worst` the elements that differ most, with
    indices in the golden's layout; `where` the parts of its axes that hold the difference, or what is not finite;
    `histogram` counts a float's elements by how much they differ, None where none does; `ratios` by how many times the
    golden they are, None where that is once.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    nonfinite: int = 0
    scale: float = 0.0
    worst: tuple[Element, ...] = ()
    where: tuple[Where, ...] = ()
    histogram: Histogram | None = None
    ratios: Ratios | None = None
    problem: str = ""
    detail: str = ""


def measure(
    golden: np.ndarray,
    got: np.ndarray,
    *,
    kind: Kind,
    role: str,
    layout: str,
    real: np.ndarray | None,
    tokens: np.ndarray | None = None,
) -> Measured:
    """Compares `got` with `golden`, both in `layout`, over the real tokens that `real` (Bool, B T) marks.

    Padding rows are ignored, whatever they hold. `tokens` (Int, B T) numbers the tokens. Raises ValueError where the
    golden itself does not fit `layout`.
    """
    if golden.shape != got.shape:
        return _mismatch(f"shape {got.shape}, golden {golden.shape}, layout '{layout}'")
    for side, dtype in (("golden", golden.dtype), ("value", got.dtype)):
        if dtype_class(dtype) not in _ALLOWED[kind]:
            return _mismatch(f"{side} is {dtype.name}, port is of kind {kind}; shape {got.shape}, layout '{layout}'")
    golden_rows, got_rows = real_rows(golden, layout, real), real_rows(got, layout, real)
    if golden_rows.size == 0:
        return _mismatch(f"nothing to compare: no element of a real token in shape {got.shape}, layout '{layout}'")
    if kind != Kind.FLOAT and (detail := _too_large(golden_rows, got_rows)):
        return _mismatch(detail)
    golden_rows, got_rows = golden_rows.astype(np.float64), got_rows.astype(np.float64)
    if not np.isfinite(golden_rows).all():
        return _mismatch("golden is not finite")
    scale = float(np.abs(golden_rows).max())
    finite = np.isfinite(got_rows)
    if not finite.all():
        flat = np.flatnonzero(~finite)
        (first,) = _indices(flat[:1], golden.shape, layout, real)
        detail = f"{flat.size} of {finite.size} values are not finite, the first is {got_rows.flat[flat[0]]} at {first}"
        places = where(~np.isfinite(got.astype(np.float64)), None, layout, real, tokens)
        return Measured(nonfinite=int(flat.size), scale=scale, where=places, problem="nonfinite", detail=detail)
    dtype = got.dtype.name
    found = {m.name: m.compute(golden_rows, got_rows, dtype) for m in metrics().values() if m.applies(kind, role)}
    if bad := {name: value for name, value in found.items() if not (isinstance(value, float) and isfinite(value))}:
        raise UsageError("metrics must give finite floats", where=f"layout '{layout}'", got=str(bad))
    return Measured(
        metrics=found,
        scale=scale,
        worst=_worst(golden_rows, got_rows, golden.shape, layout, real),
        where=_where(golden, got, kind, layout, real, tokens) if _matters(golden_rows, got_rows, kind, dtype) else (),
        histogram=histogram(golden_rows, got_rows, dtype) if kind is Kind.FLOAT else None,
        ratios=ratios(golden_rows, got_rows) if kind is Kind.FLOAT else None,
    )


@lru_cache
def dtype_class(dtype: np.dtype) -> str:
    """`float`, `integer`, `bool`, or the dtype's own name where it is none of them. Knows ml_dtypes' types."""
    if dtype.kind == "b":
        return "bool"
    for name, info in (("float", ml_dtypes.finfo), ("integer", ml_dtypes.iinfo)):
        try:
            info(dtype)
        except (ValueError, TypeError):
            continue
        return name if dtype.kind != "c" else dtype.name
    return dtype.name


def _mismatch(detail: str) -> Measured:
    return Measured(problem="mismatch", detail=detail)


def _too_large(*sides: np.ndarray) -> str:
    for side in sides:
        if max(abs(int(side.max())), abs(int(side.min()))) > _EXACT_BELOW:
            return "integers beyond 2**53 cannot be compared in float64"
    return ""


def _matters(golden: np.ndarray, got: np.ndarray, kind: Kind, dtype: str) -> bool:
    """Whether there is more than the rounding of a result: only then does it say something where it sits."""
    size = norm(difference(golden, got))
    return size > unit_roundoff(dtype) * norm(golden) if kind is Kind.FLOAT else size > 0.0


def _where(
    golden: np.ndarray,
    got: np.ndarray,
    kind: Kind,
    layout: str,
    real: np.ndarray | None,
    tokens: np.ndarray | None,
) -> tuple[Where, ...]:
    with np.errstate(invalid="ignore"):  # what padding holds is left out later
        wide = golden.astype(np.float64)
        size = np.abs(difference(wide, got.astype(np.float64)))
    if kind is not Kind.FLOAT:
        return where(size > 0.0, None, layout, real, tokens)
    return where(size, wide, layout, real, tokens)


def _worst(
    golden: np.ndarray, got: np.ndarray, shape: tuple[int, ...], layout: str, real: np.ndarray | None
) -> tuple[Element, ...]:
    """The elements that differ most, largest difference first, then by place; none where all are equal."""
    size = np.abs(difference(golden, got)).ravel()
    if not size.any():
        return ()
    if size.size > 4 * WORST:
        # Everything as large as the fifth largest: ties at the edge are settled by place, not by the partition.
        candidates = np.flatnonzero(size >= np.partition(size, -WORST)[-WORST])
    else:
        candidates = np.arange(size.size)
    chosen = candidates[np.argsort(-size[candidates], kind="stable")][:WORST]
    chosen = chosen[size[chosen] > 0]
    places = _indices(chosen, shape, layout, real)
    return tuple(
        Element(place, float(golden.flat[i]), float(got.flat[i])) for place, i in zip(places, chosen, strict=True)
    )


def _indices(flat: np.ndarray, shape: tuple[int, ...], layout: str, real: np.ndarray | None) -> list[tuple[int, ...]]:
    """Places in (rows, features) as indices in the golden's layout."""
    numbered = real_rows(np.arange(int(np.prod(shape))).reshape(shape), layout, real).ravel()[flat]
    if not shape:
        return [()] * len(flat)
    columns = np.unravel_index(numbered, shape)
    return [tuple(int(column[i]) for column in columns) for i in range(len(flat))]
