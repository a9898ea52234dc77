"""Kullback-Leibler divergence of the next-token distributions: what a drift of the logits costs the reader.

Formula: mean over rows of Σ p·(ln p - ln q), p = softmax(golden), q = softmax(got). Computed as Σ p·(eᵟ - 1 - δ),
δ = ln q - ln p, which is the same number (Σ p·(eᵟ - 1) is 0) without cancellation: no term is negative.
Range: 0 (same distribution; a constant added to all logits of a row does not count) upwards, in nats, at most 1e300.
Better: lower. It grows with the square of a small drift.

>>> round(compute(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]]), "float32"), 6)
0.143841
"""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import LARGEST, Metric

_SMALL = 0.5  # above it eᵟ - 1 - δ loses nothing to cancellation, and eᵟ could overflow


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        shifted = np.maximum(logits - logits.max(axis=1, keepdims=True), -LARGEST)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def by_row(golden: np.ndarray, got: np.ndarray) -> np.ndarray:
    """The divergence of each row of logits, in nats."""
    log_p, log_q = _log_softmax(golden), _log_softmax(got)
    with np.errstate(under="ignore"):
        p, delta = np.exp(log_p), log_q - log_p
        close = np.abs(delta) < _SMALL
        small = np.where(close, delta, 0.0)
        terms = np.where(close, p * (np.expm1(small) - small), np.exp(log_q) - p - p * delta)
        return np.clip(terms.sum(axis=1), 0.0, LARGEST)


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    with np.errstate(over="ignore"):
        return min(float(by_row(golden, got).mean()), LARGEST)


METRIC = Metric("kl", (Kind.FLOAT,), unit="nats", better="lower", compute=compute, role="logits")
