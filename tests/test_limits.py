"""Each row of tests/limits.py, measured: float32 NumPy against float64 must stay inside it and come near it."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from limits import EPS, LIMITS, Op, limit

# A limit more than this many times the worst drift measured would let a real fault pass.
IDLE_X = 64
RNG_SEED = 7


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).standard_normal(shape)


def elementwise(x: np.ndarray) -> np.ndarray:
    return (x * x + x * x) / (x * x * x)


def rms_norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(1e-5))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rotary(x: np.ndarray) -> np.ndarray:
    frequency = (x.dtype.type(500_000.0) ** (-np.arange(0, 1, 1 / 16, dtype=x.dtype))).astype(x.dtype)
    return np.cos(np.arange(POSITIONS, dtype=x.dtype)[:, None] * frequency)


def block(x: np.ndarray, layer: int = 0) -> np.ndarray:
    width = x.shape[-1]
    rng = np.random.default_rng(layer)
    up, gate = (rng.standard_normal((width, 2 * width)).astype(x.dtype) / x.dtype.type(width**0.5) for _ in range(2))
    down = rng.standard_normal((2 * width, width)).astype(x.dtype) / x.dtype.type((2 * width) ** 0.5)
    h = rms_norm(x)
    mixed = softmax(h @ h.T / x.dtype.type(width**0.5)) @ h
    g = mixed @ gate
    return (g / (1 + np.exp(-g)) * (mixed @ up)) @ down


def model(x: np.ndarray) -> np.ndarray:
    for layer in range(LAYERS):
        x = x + block(x, layer)
    return rms_norm(x)


def rms(y: np.ndarray) -> float:
    return float(np.sqrt(np.mean(y * y)))


POSITIONS = 4096
LAYERS = 4
TERMS = 256

# operation: (what computes it, its input, the scale that its reason names, its terms)
MEASURED: dict[Op, tuple[Callable, np.ndarray, Callable[[np.ndarray, np.ndarray], object], int]] = {
    "elementwise": (elementwise, draw(4096), lambda x, y: np.abs(y), 1),
    "transcendental": (np.exp, draw(4096), lambda x, y: np.maximum(np.abs(y), 1), 1),
    # cumsum adds one term after the other, as the row supposes; np.sum would add pairwise
    "sum": (lambda x: np.cumsum(x, -1)[..., -1], draw(256, TERMS), lambda x, y: np.abs(x).sum(-1), TERMS),
    # thirds: while a sum stays between two powers of two, each term is rounded in the same direction
    "any order": (
        lambda x: np.cumsum(x, -1)[..., -1],
        np.full((1, TERMS), 1 / 3),
        lambda x, y: np.abs(x).sum(-1),
        TERMS,
    ),
    "dot": (
        lambda x: np.cumsum(x * x[::-1], -1)[..., -1],
        draw(256, TERMS),
        lambda x, y: np.linalg.norm(x, axis=-1) * np.linalg.norm(x[::-1], axis=-1),
        TERMS,
    ),
    "norm": (rms_norm, draw(64, TERMS), lambda x, y: rms(y), 1),
    "softmax": (softmax, 4 * draw(64, TERMS), lambda x, y: y.max(-1, keepdims=True), 1),
    "rotary": (rotary, draw(1), lambda x, y: 1.0, POSITIONS),
    "block": (block, draw(32, 64), lambda x, y: rms(y), 1),
    "model": (model, draw(32, 64), lambda x, y: rms(y), LAYERS),
}


def test_every_row_that_rounds_is_measured() -> None:
    assert set(MEASURED) == set(LIMITS) - {"exact"}


@pytest.mark.parametrize("op", MEASURED)
def test_float32_stays_inside_its_limit_and_near_it(op: Op) -> None:
    compute, values, scale_of, terms = MEASURED[op]
    single = values.astype(np.float32)
    exact = compute(single.astype(np.float64))
    drift = float(np.max(np.abs(compute(single) - exact) / scale_of(single.astype(np.float64), exact)))
    allowed = limit(op, "f32", terms)
    assert drift <= allowed, f"{op}: measured {drift / EPS['f32']:.2f} eps, allowed {allowed / EPS['f32']:.2f} eps"
    assert allowed <= IDLE_X * drift, (
        f"{op}: allowed {allowed / EPS['f32']:.2f} eps, but only {drift / EPS['f32']:.3f} measured"
    )


def test_every_row_has_a_reason() -> None:
    assert all(len(row.reason) > 20 for row in LIMITS.values())


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="elementwise"):
        limit("matmul", "f32")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="bf16"):
        limit("dot", "float32")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        limit("dot", "f32", 0)


def test_eps_is_that_of_the_dtype() -> None:
    for name, dtype in {"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}.items():
        assert EPS[name] == float(ml_dtypes.finfo(dtype).eps)
