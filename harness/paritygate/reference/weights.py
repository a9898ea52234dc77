"""Seeded weights that excite every path, drawn per tensor so that one tensor does not depend on another's size.

Every value is exact in bfloat16 and in float16: a cell's dtype then costs arithmetic only, not the storing of weights.
"""

import zlib
from collections.abc import Mapping
from fnmatch import fnmatchcase

import ml_dtypes
import numpy as np

from paritygate.core.errors import UsageError
from paritygate.core.family import Family, Preset, WeightRule

# Below this a bfloat16 value needs more bits than a float16 subnormal has.
_SMALLEST = 2.0**-17


def draw(family: Family, preset: Preset, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The bfloat16 weights of a preset, one for each name of the reference's state dict."""
    weights = {}
    for name, shape in shapes.items():
        rule = next((rule for rule in family.weights if fnmatchcase(name, rule.pattern)), None)
        if rule is None:
            raise UsageError("no weight rule matches", where=name, expected="a rule with pattern '*' at the end")
        weights[name] = representable(_draw(rule, name, shape, preset))
    return weights


def representable(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 values, those that float16 cannot hold exactly set to zero."""
    return np.where(np.abs(values) < _SMALLEST, 0.0, values).astype(ml_dtypes.bfloat16)


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _draw(rule: WeightRule, name: str, shape: tuple[int, ...], preset: Preset) -> np.ndarray:
    normal = _generator(preset.seed, name).standard_normal(shape)
    if rule.init == "gain":
        return 1.0 + rule.scale * normal
    fan_in = 1 if rule.fan_in_axis is None else shape[rule.fan_in_axis]
    values = rule.scale * normal / np.sqrt(fan_in)
    if rule.init == "steered" and preset.directions:
        values += rule.steer * _steering(shape, preset)
    return values


def _steering(shape: tuple[int, ...], preset: Preset) -> np.ndarray:
    """Rows of a matrix (rows, width) pointed along the preset's unit vectors: one per expert.

    Row r of the embedding leans towards expert r mod E and, half as much, towards a second one; row e of a
    router listens to expert e. Routing is then about as decisive as a trained router's. With undirected weights one
    token in fifteen is within bfloat16 noise of a tie, and no prompt of a hundred tokens would be usable.
    """
    rows, width = shape
    experts = preset.directions
    gaussian = _generator(preset.seed, "directions").standard_normal((width, experts))
    directions = np.linalg.qr(gaussian)[0].T
    if rows == experts:
        return directions
    first = np.arange(rows) % experts
    second = (first + 1 + np.arange(rows) // experts % (experts - 1)) % experts
    return directions[first] + 0.5 * directions[second]
