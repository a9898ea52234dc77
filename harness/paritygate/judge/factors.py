"""What a factor that a value is off by may be: a size of the model's config, or its root. Reads and writes nothing."""

from collections.abc import Mapping
from typing import Any

from paritygate.core.ratios import Ratios
from paritygate.core.where import listed

# How near a factor is to what it is taken for. It is the median of many elements: a rounding of bfloat16 is 0.4 %.
_SAME = 0.002
_POWERS = ((1.0, "{}"), (0.5, "√{}"), (-1.0, "1/{}"), (-0.5, "1/√{}"))


def sizes_in(config: Mapping[str, Any]) -> dict[str, int]:
    """The whole numbers over 2 of a config by their keys, nested ones too, the first of a name."""
    found: dict[str, int] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found = sizes_in(value) | found
        elif isinstance(value, int) and value > 2:
            found.setdefault(key, value)
    return found


def factor_words(ratios: Ratios | None, sizes: Mapping[str, int]) -> str:
    """`100% of the elements are 3.464 times the golden, √12: head_dim is 12`; empty where there is no one factor."""
    if ratios is None or ratios.factor is None:
        return ""
    return ratios.words + _named(ratios.factor, sizes)


def _named(factor: float, sizes: Mapping[str, int]) -> str:
    sign, size = ("−" if factor < 0 else ""), abs(factor)
    for power, form in _POWERS:
        names = [name for name, n in sizes.items() if abs(size / n**power - 1.0) < _SAME]
        if names:
            shared = sizes[names[0]]
            same = [name for name in names if sizes[name] == shared]
            return f", {sign}{form.format(shared)}: {listed(same)} {'is' if len(same) == 1 else 'are'} {shared}"
    return ""
