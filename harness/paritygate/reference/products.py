"""How the matrix products of 16-bit peers are computed: by torch's own kernels, or in float32 and rounded once.

Where a CPU has no 16-bit products of its own, torch multiplies such matrices in loops of scalars: widened to float32,
summed there, rounded once. A float32 product of the widened matrices, rounded once, is the same but for the order of
the sum, and many times faster. Reads and writes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paritygate.core.golden import LowPrecision, ProductPath

Operation = Callable[..., Any]

_aten = torch.ops.aten
# Held here, by value: while an oracle runs, `torch.float32` means float64.
WIDE = torch.float32
NARROW = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# What multiplies matrices. Anything else is the CPU's own in either path: `dot` and `mv`, which are no faster wide;
# fused attention, which rounds between its two products; `addbmm` and the backward pass of a convolution, which round
# after each matrix of a batch.
MATRIX_PRODUCTS = (
    _aten.mm.default,
    _aten.bmm.default,
    _aten.addmm.default,
    _aten.baddbmm.default,
    _aten.convolution.default,
)
# What is made of products and arrives whole where autograd is off altogether (`torch.inference_mode`).
_COMPOSITES = (_aten.linear.default, _aten.matmul.default)


def product_paths(low_precision: LowPrecision = "auto") -> dict[str, ProductPath]:
    """By dtype, how products are computed; `auto` is `native` exactly where oneDNN multiplies that dtype on this CPU.

    That is asked of the CPU and not timed, so that one machine always takes one path.
    """
    if low_precision != "auto":
        return dict.fromkeys(NARROW, low_precision)
    found = torch.backends.mkldnn.is_available()
    supported = {
        "bfloat16": found and torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        "float16": found and torch.ops.mkldnn._is_mkldnn_fp16_supported(),
    }
    return {dtype: "native" if has else "upcast" for dtype, has in supported.items()}


def multiplied(dtype: str, paths: Mapping[str, ProductPath]) -> AbstractContextManager[Any]:
    """The context in which a model of a dtype multiplies as `paths` says, forward and backward."""
    return Upcast(NARROW[dtype]) if paths.get(dtype) == "upcast" else nullcontext()


class Multiplying(TorchDispatchMode, ABC):
    """Inside, matrix products are computed by `product`, in backward passes too.

    It works below autograd, where `x @ y`, `F.linear`, `einsum` and eager attention have all become the same few
    operations, and none of them can be missed.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and to be skipped by torch's compiler is to import it: seconds."""
        return False

    def __init__(self) -> None:
        super().__init__()
        products = {op: partial(self.product, op) for op in MATRIX_PRODUCTS}
        self._table: Mapping[Any, Operation] = products | {op: self._taken_apart(op) for op in _COMPOSITES}

    @abstractmethod
    def product(self, op: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What an operation of MATRIX_PRODUCTS gives."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._table.get(func, func)(*args, **(kwargs or {}))

    def _taken_apart(self, op: Any) -> Operation:
        def composite(*args: Any, **kwargs: Any) -> torch.Tensor:
            with self:
                return op.decompose(*args, **kwargs)

        return composite


class Upcast(Multiplying):
    """Inside, matrix products of a 16-bit dtype are computed in float32 and rounded once."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self._dtype = dtype

    def product(self, op: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if args[0].dtype != self._dtype:
            return op(*args, **kwargs)
        return op(*map(widened, args), **kwargs).to(self._dtype)


def widened(value: Any) -> Any:
    """A tensor in float32; anything else as it is."""
    return value.to(WIDE) if isinstance(value, torch.Tensor) else value
