"""Products of a peer as other hardware computes them: the reference's own emulation of each arithmetic.

The arithmetics of `audit/arithmetic.py`, written again for torch, so that a cell that emulates one has a noise floor of
its own, and each emulation is held against another. Reads and writes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from paritygate.core.errors import UsageError, unknown_name
from paritygate.reference.products import WIDE, Multiplying, widened

Scale = Literal["tensor", "channel"]

_aten = torch.ops.aten
# Where the two matrices are among an operation's arguments.
_OPERANDS = {
    _aten.mm.default: (0, 1),
    _aten.bmm.default: (0, 1),
    _aten.addmm.default: (1, 2),
    _aten.baddbmm.default: (1, 2),
    _aten.convolution.default: (0, 1),
}
# What multiplies and is none of those: refused, since it would be computed in another arithmetic without a word.
_OTHERS = frozenset(
    "aten::dot aten::vdot aten::mv aten::addmv aten::addr aten::addbmm aten::convolution_backward"
    " aten::_scaled_dot_product_flash_attention_for_cpu aten::_scaled_dot_product_flash_attention_for_cpu_backward"
    " aten::_scaled_mm aten::_grouped_mm".split()
)
_E4M3, _E5M2 = (torch.float8_e4m3fn, 448.0), (torch.float8_e5m2, 57344.0)
_BLOCK = 8  # terms that are summed before a float16 total is rounded


@dataclass(frozen=True)
class Operand:
    """A matrix in float32; `axes` are summed over. `weight`: a parameter; `cotangent`: made by a backward pass."""

    value: torch.Tensor
    axes: tuple[int, ...]
    weight: bool = False
    cotangent: bool = False


Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # in float32
Arithmetic = Callable[[Operand, Operand, Multiply], torch.Tensor]


class Emulated(Multiplying):
    """Inside, products of floats are computed in the named arithmetic and rounded once to the dtype that they have.

    `parameters` are the model's. A cotangent is what a backward pass made and no forward pass. Raises UsageError on an
    unknown arithmetic, and on an operation that multiplies in a way of its own.
    """

    def __init__(self, matmul: str, parameters: Iterable[torch.Tensor]):
        super().__init__()
        if matmul not in ARITHMETICS:
            raise unknown_name("matmul arithmetic", matmul, list(ARITHMETICS))
        self._matmul, self._arithmetic = matmul, ARITHMETICS[matmul]
        self._parameters = {_storage(parameter) for parameter in parameters}
        # Of a forward pass that is differentiated: held, so that no later tensor is where one of them was.
        self._forward: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := func.name().partition(".")[0]) in _OTHERS:
            raise UsageError("no such product in this arithmetic", where=name, expected=f"a product for {self._matmul}")
        found = super().__torch_dispatch__(func, types, args, kwargs)
        if torch.is_grad_enabled() and not _is_backward():
            for value in found if isinstance(found, tuple | list) else (found,):
                if isinstance(value, torch.Tensor):
                    self._forward[_storage(value)] = value
        return found

    def product(self, op: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        first, second = _OPERANDS[op]
        left, right = args[first], args[second]
        axes = _contracted(op, left)
        # HF makes its angles by a product of one term, which no port needs a product for: it is left as it is.
        one_term = all(left.shape[axis] == 1 for axis in axes[0])
        if one_term or not left.dtype.is_floating_point or left.dtype.itemsize > WIDE.itemsize:
            return op(*args, **kwargs)
        pair = self._operand(left, axes[0]), self._operand(right, axes[1])
        if op is _aten.convolution.default:
            bias, *rest = args[2:]
            found = self._arithmetic(*pair, lambda x, w: op(x, w, None, *rest, **kwargs))
            if bias is not None:
                found = found + widened(bias).reshape(1, -1, *[1] * (found.ndim - 2))
            return found.to(left.dtype)
        multiply = torch.mm if left.ndim == 2 else torch.bmm
        found = self._arithmetic(*pair, multiply)
        if len(args) == 3:
            found = kwargs.get("beta", 1) * widened(args[0]) + kwargs.get("alpha", 1) * found
        return found.to(left.dtype)

    def _operand(self, matrix: torch.Tensor, axes: tuple[int, ...]) -> Operand:
        at = _storage(matrix)
        weight = at in self._parameters
        return Operand(widened(matrix), axes, weight, _is_backward() and not weight and at not in self._forward)


def _is_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _contracted(op: Any, left: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if op is _aten.convolution.default:
        axes = tuple(range(1, left.ndim))
        return axes, axes
    return (left.ndim - 1,), (left.ndim - 2,)


def _to(dtype: torch.dtype, x: torch.Tensor) -> torch.Tensor:
    return x.to(dtype).to(WIDE)


def _to_tf32(x: torch.Tensor) -> torch.Tensor:
    """10 mantissa bits, to nearest, ties away from zero."""
    rounded = ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(WIDE)
    return torch.where(torch.isfinite(x), rounded, x)


def _parts(x: torch.Tensor, count: int) -> list[torch.Tensor]:
    """bfloat16 parts whose sum is x, or nearly: all but the last are cut off, not rounded."""
    found: list[torch.Tensor] = []
    for _ in range(count - 1):
        found.append((x.contiguous().view(torch.int32) & ~0xFFFF).view(WIDE))
        x = x - found[-1]
    return [*found, _to(torch.bfloat16, x)]


def _rounded(
    left: Operand, right: Operand, multiply: Multiply, round: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    return multiply(round(left.value.contiguous()), round(right.value.contiguous()))


def _split(left: Operand, right: Operand, multiply: Multiply, pairs: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """The products of the named parts, one after another: smallest first."""
    count = 1 + max(max(pair) for pair in pairs)
    ones, others = _parts(left.value, count), _parts(right.value, count)
    total = multiply(ones[pairs[0][0]], others[pairs[0][1]])
    for i, j in pairs[1:]:
        total = total + multiply(ones[i], others[j])
    return total


def _in_float16(left: Operand, right: Operand, multiply: Multiply) -> torch.Tensor:
    """Sums a few products, adds them to a float16 total, and so on."""
    if len(left.axes) > 1:
        raise UsageError("no such product in this arithmetic", where="convolution", expected="matrices of float16")
    ones, others = (_to(torch.float16, operand.value) for operand in (left, right))
    total = torch.zeros((), dtype=torch.float16)
    for a, b in zip(ones.split(_BLOCK, -1), others.split(_BLOCK, -2), strict=True):
        total = (widened(total) + multiply(a, b)).to(torch.float16)
    return widened(total)


def _unit(operand: Operand, scale: Scale, most: float) -> torch.Tensor:
    """What `most` stands for in each group: its largest is that many units; where all of one are 0, 1."""
    size = operand.value.abs()
    largest = size.max() if scale == "tensor" else size.amax(operand.axes, keepdim=True)
    return torch.where(largest == 0, 1.0, largest * torch.tensor(1 / most, dtype=WIDE))


def _scaled_float(operand: Operand, scale: Scale) -> torch.Tensor:
    dtype, most = _E5M2 if operand.cotangent else _E4M3
    unit = _unit(operand, scale, most)
    return _to(dtype, (operand.value / unit).clamp(-most, most)) * unit


def _scaled_integer(operand: Operand) -> torch.Tensor:
    unit = _unit(operand, "channel", 127)
    return torch.round(operand.value / unit).clamp(-127, 127) * unit


def _float8(left: Operand, right: Operand, multiply: Multiply, scale: Scale) -> torch.Tensor:
    return multiply(_scaled_float(left, scale), _scaled_float(right, scale))


def _weights(
    left: Operand, right: Operand, multiply: Multiply, round: Callable[[Operand], torch.Tensor]
) -> torch.Tensor:
    return multiply(*(round(operand) if operand.weight else operand.value for operand in (left, right)))


ARITHMETICS: Mapping[str, Arithmetic] = {
    "bf16x1": partial(_rounded, round=partial(_to, torch.bfloat16)),
    "bf16x3": partial(_split, pairs=((1, 0), (0, 1), (0, 0))),
    "bf16x6": partial(_split, pairs=((1, 1), (2, 0), (0, 2), (1, 0), (0, 1), (0, 0))),
    "tf32": partial(_rounded, round=_to_tf32),
    "f16-accumulate": _in_float16,
    "e4m3-weights": partial(_weights, round=partial(_scaled_float, scale="channel")),
    "e4m3-tensor": partial(_float8, scale="tensor"),
    "e4m3-channel": partial(_float8, scale="channel"),
    "int8-weights": partial(_weights, round=_scaled_integer),
}
