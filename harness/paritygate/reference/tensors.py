"""Values between torch and NumPy, with no loss: bfloat16 included, complex as pairs, nested arguments."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import torch


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A NumPy array of the same dtype and bits."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def to_torch(array: np.ndarray, dtype: str | None = None) -> torch.Tensor:
    """A torch copy of an array; floats are rounded once to `dtype` where given."""
    if array.dtype == ml_dtypes.bfloat16:
        array = array.astype(np.float64 if dtype == "float64" else np.float32)
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(getattr(torch, dtype)) if dtype and tensor.is_floating_point() else tensor


def map_tensors(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """`function` applied to every tensor of a nested tuple, list or dict; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return type(value)((k, map_tensors(function, v)) for k, v in value.items())
    if type(value) in (tuple, list):
        return type(value)(map_tensors(function, v) for v in value)
    return value


def cast(dtype: torch.dtype, device: torch.device | str = "cpu") -> Callable[[torch.Tensor], torch.Tensor]:
    """Rounds a float64 argument to a peer's dtype, as the peer itself would hold it on its device.

    Complex values become complex64, as in every low-precision reference; values beyond the range (an additive mask
    holds float64's lowest number) become the range's end; integers and booleans stay.
    """

    def apply(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(device, torch.complex64)
        if not tensor.is_floating_point():
            return tensor.to(device)
        limits = torch.finfo(dtype)
        return tensor.clamp(limits.min, limits.max).to(device, dtype)

    return apply
