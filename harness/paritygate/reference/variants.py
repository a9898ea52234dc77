"""Harmless variants of the reference: the same computation in another order of sums, by another kernel or library.

None rounds to a narrow dtype where the reference does not, so that their drifts differ from the peer's by what a right
port's may.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paritygate.core.family import PIXELS, Family
from paritygate.core.registry import load
from paritygate.reference.build import CaseInputs

_aten = torch.ops.aten
Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Operation = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Variant:
    """One row of the table: `run` is the context that the peer runs in, `inputs` what becomes of the case inputs."""

    name: str
    doc: str
    run: Callable[[Family], AbstractContextManager[Any]]
    inputs: Callable[[CaseInputs], CaseInputs] = lambda case_inputs: case_inputs


class _Rewritten(TorchDispatchMode):
    """Runs operations otherwise, in backward passes too. What the table does not name stays as it is."""

    def __init__(self, table: Mapping[Any, Operation]):
        super().__init__()
        self._table = table

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As of `Multiplying`."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._table.get(func, func)(*args, **(kwargs or {}))


def _wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32, as sums of 16-bit values are accumulated everywhere."""
    return x if x.dtype in (torch.float32, torch.float64) or not x.is_floating_point() else x.to(torch.float32)


def _products(multiply: Product) -> dict[Any, Operation]:
    """Matrix products by `multiply`, which is given float32 or wider and rounded once."""

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return multiply(_wide(a), _wide(b)).to(a.dtype)

    def added(bias: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
        return (beta * _wide(bias) + alpha * multiply(_wide(a), _wide(b))).to(a.dtype)

    return {
        _aten.mm.default: product,
        _aten.bmm.default: product,
        _aten.addmm.default: added,
        _aten.baddbmm.default: added,
    }


def _sums(total: Callable[[torch.Tensor], torch.Tensor]) -> dict[Any, Operation]:
    """Sums, means, softmax and layer norm by `total`, which sums float32 or wider over the last axis."""

    def summed(
        x: torch.Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        if x.is_complex() or not (dtype or x.dtype).is_floating_point:
            return _aten.sum.dim_IntList(x, dim, keepdim, dtype=dtype)
        axes = sorted(d % x.ndim for d in (dim or range(x.ndim)))
        kept = [d for d in range(x.ndim) if d not in axes]
        flat = _wide(x).permute(*kept, *axes).reshape(*(x.shape[d] for d in kept), -1)
        shape = [1 if d in axes else x.shape[d] for d in range(x.ndim)]
        found = total(flat)
        return (found.reshape(shape) if keepdim else found).to(dtype or x.dtype)

    def mean(x: torch.Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
        found = summed(_wide(x), dim, keepdim)
        return (found * (found.numel() / x.numel())).to(dtype or x.dtype)

    def softmax(x: torch.Tensor, dim: int, half_to_float: bool) -> torch.Tensor:
        powers = torch.exp(_wide(x) - _wide(x).amax(dim, keepdim=True))
        return (powers / summed(powers, [dim], True)).to(x.dtype)

    def layer_norm(x: torch.Tensor, shape: Any, weight: Any, bias: Any, eps: float) -> Any:
        axes, wide = list(range(-len(shape), 0)), _wide(x)
        centred = wide - mean(wide, axes, True)
        scale = torch.rsqrt(mean(centred * centred, axes, True) + eps)
        result = centred * scale * _wide(weight) + _wide(bias)
        return result.to(x.dtype), mean(wide, axes, True).to(x.dtype), scale.to(x.dtype)

    return {
        _aten.sum.dim_IntList: summed,
        _aten.mean.dim: mean,
        _aten._softmax.default: softmax,
        _aten.native_layer_norm.default: layer_norm,
    }


def _halves(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    half = a.shape[-1] // 2
    return a[..., :half] @ b[..., :half, :] + a[..., half:] @ b[..., half:, :]


def _half_sums(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x[..., :half].sum(-1) + x[..., half:].sum(-1)


def _in_turn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    found = a[..., :, :1] * b[..., :1, :]
    for k in range(1, a.shape[-1]):
        found = found + a[..., :, k : k + 1] * b[..., k : k + 1, :]
    return found


def _sum_in_turn(x: torch.Tensor) -> torch.Tensor:
    found = x[..., 0]
    for k in range(1, x.shape[-1]):
        found = found + x[..., k]
    return found


def _order(length: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(length).permutation(length))


def _permuted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    order = _order(a.shape[-1])
    return a[..., order] @ b[..., order, :]


def _permuted_sum(x: torch.Tensor) -> torch.Tensor:
    return x[..., _order(x.shape[-1])].sum(-1)


def _doubled(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.double() @ b.double()).to(a.dtype)


def _doubled_sum(x: torch.Tensor) -> torch.Tensor:
    return x.double().sum(-1).to(x.dtype)


def _another_libm(function: Callable[..., torch.Tensor]) -> Operation:
    """The function in float64, rounded to float32 and moved by one unit in the last place at most."""

    def moved(x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if x.is_complex() or x.dtype == torch.float64 or not x.is_floating_point():
            return function(x, *rest, **named)
        exact = function(x.double(), *rest, **named)
        generator = torch.Generator().manual_seed(x.numel())
        ulps = torch.randint(-1, 2, x.shape, generator=generator)
        return (exact.float() * (1 + ulps * 2.0**-24)).to(x.dtype)

    return moved


_LIBM = {
    op: _another_libm(op)
    for op in (
        _aten.exp.default,
        _aten.sin.default,
        _aten.cos.default,
        _aten.log1p.default,
        _aten.rsqrt.default,
        _aten.sigmoid.default,
        _aten.silu.default,
        _aten.gelu.default,
        _aten.tanh.default,
    )
}


def _polar(size: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    return torch.complex(size * _LIBM[_aten.cos.default](angle), size * _LIBM[_aten.sin.default](angle))


def _rewriting(table: Mapping[Any, Operation]) -> Callable[[Family], AbstractContextManager[Any]]:
    return lambda family: _Rewritten(table)


@contextmanager
def _threads(family: Family) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _nothing(family: Family) -> Iterator[None]:
    yield


def _turned(case_inputs: CaseInputs) -> CaseInputs:
    """The rows of a batch from last to first; pictures stay with the rows that show them."""
    if PIXELS in case_inputs:
        return case_inputs
    return {name: array if name == "slots" else array[::-1].copy() for name, array in case_inputs.items()}


AS_IT_IS = "again"

VARIANTS = (
    Variant(AS_IT_IS, "the peer as it is: on another machine, by other kernels, than the golden's", _nothing),
    Variant("halves", "sums in two halves", _rewriting(_products(_halves) | _sums(_half_sums))),
    Variant("in turn", "sums one term after another", _rewriting(_products(_in_turn) | _sums(_sum_in_turn))),
    Variant("permuted", "the terms of sums in a random order", _rewriting(_products(_permuted) | _sums(_permuted_sum))),
    Variant("wide", "sums in float64, rounded once", _rewriting(_products(_doubled) | _sums(_doubled_sum))),
    Variant("libm", "another library of functions", _rewriting(_LIBM | {_aten.polar.default: _polar})),
    Variant("threads", "four threads instead of one", _threads),
    Variant("turned batch", "the rows of the batch from last to first", _nothing, _turned),
)


def variants_of(family: Family) -> dict[str, Variant]:
    """Every variant by name: those of any reference, and the family's own kernels."""
    own = (Variant(name, f"the family's {name}", _own(dotted)) for name, dotted in family.variants.items())
    return {variant.name: variant for variant in (*VARIANTS, *own)}


def _own(dotted: str) -> Callable[[Family], AbstractContextManager[Any]]:
    return lambda family: load(dotted)()
