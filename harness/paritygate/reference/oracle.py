"""True float64 from a reference that casts to float32 inside: while `lifted`, every way to say float32 says float64."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def lifted() -> Iterator[None]:
    """Turns the reference's float32 islands into float64 ones.

    `x.float()`, `torch.float`, `torch.float32` and `torch.complex64` mean their double counterparts inside, both while
    a model is built (frequency tables) and while it runs. Norms, rope, router and loss then compute in float64.
    """
    doubles = {"float": torch.float64, "float32": torch.float64, "complex64": torch.complex128}
    saved = {name: getattr(torch, name) for name in doubles}
    as_float = torch.Tensor.float
    try:
        for name, dtype in doubles.items():
            setattr(torch, name, dtype)
        torch.Tensor.float = torch.Tensor.double
        yield
    finally:
        torch.Tensor.float = as_float
        for name, dtype in saved.items():
            setattr(torch, name, dtype)
