"""What a value's bits are known by, so that two runs can be said to give the same ones without keeping them."""

import hashlib

import numpy as np

LENGTH = 16  # hexadecimal digits: among a million values, two that differ share one by a chance of 3e-8


def digest(rows: np.ndarray) -> str:
    """A hash of the bits of a value, of its dtype and its shape: -0.0 is not 0.0, and float32 is not float64."""
    content = hashlib.sha256(f"{rows.dtype.name} {rows.shape} ".encode())
    content.update(np.ascontiguousarray(rows).tobytes())
    return content.hexdigest()[:LENGTH]
