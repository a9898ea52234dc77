"""How many digits of a number a page carries: four of a measurement, nine of an element of a value."""

import math


def short(value: float) -> float | str:
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def long(value: float) -> float | str:
    return float(f"{value:.9g}") if math.isfinite(value) else str(value)
