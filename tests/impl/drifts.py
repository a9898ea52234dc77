"""How far arrays lie apart, and which of several named distances are too far."""

from typing import Any

import numpy as np


def rel_l2(got: Any, expected: Any) -> float:
    expected = np.asarray(expected)
    assert np.shape(got) == expected.shape, (np.shape(got), expected.shape)
    return float(np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected))


def over(drifts: dict[str, float], allowed: float) -> dict[str, float]:
    """Those that are larger than allowed, or no number."""
    assert drifts
    return {name: drift for name, drift in drifts.items() if not drift <= allowed}
