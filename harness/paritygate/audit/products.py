"""The matrix products of a compiled program: operands, the precision that was chosen, their work, by line.

XLA's own count of FLOPs takes a loop's body once, and of a GPU's program there is none, so products are counted here.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import NamedTuple

from paritygate.audit.hlo import Instruction, Module, Shape
from paritygate.core.compilation import Dot

_KERNEL = re.compile(r'"kind":"(__[\w$]+)"')
# How often a TPU's unit for products, whose operands are bfloat16, runs over float32 operands.
_PASSES = {"default": 1, "high": 3, "highest": 6}
_WORDS = {"size": 1, "stride": 1, "lhs_dilate": 1, "rhs_dilate": 1}


def products(module: Module, times: Mapping[str, int], platform: str) -> tuple[Dot, ...]:
    """What is alike in one line as one row, most work first; `times` is how often each computation runs."""
    fused = {name: each for each in module.instructions if each.opcode == "fusion" for name in each.called}
    found: dict[tuple[str, str, str, str, str, int, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for name, body in module.computations.items():
        shapes = {each.name: each.shapes[0] for each in body if each.shapes}
        for each in body:
            if each.opcode not in ("dot", "convolution") or not times[name]:
                continue
            lhs, rhs = (shapes[operand] for operand in each.operands[:2])
            work = dot_flops(each, lhs) if each.opcode == "dot" else convolution_flops(each, lhs, rhs)
            precision, passes = _precision(each, lhs.dtype, platform)
            line = each.line if each.line.file or name not in fused else fused[name].line
            kernel = _KERNEL.search(fused[name].attributes.get("backend_config", "")) if name in fused else None
            key = (
                line.short if line.file else "no line", lhs.dtype, rhs.dtype, each.shapes[0].dtype, precision, passes,
                kernel[1].strip("_") if kernel else "",
            )  # fmt: skip
            found[key][0] += times[name]
            found[key][1] += work * times[name]
    rows = [Dot(*key, count=int(count), flops=work) for key, (count, work) in found.items()]
    return tuple(sorted(rows, key=lambda dot: (-dot.flops, dot.line)))


def uncounted(module: Module, times: Mapping[str, int]) -> tuple[str, ...]:
    """Custom calls, by target, that may multiply matrices where `products` cannot look."""
    return tuple(
        dict.fromkeys(
            target
            for each in module.instructions
            if each.opcode in ("custom-call", "ragged-dot") and times[each.computation]
            and re.search("(?i)gemm|matmul|dot|tpu_custom_call", target := _target(each))
        )
    )  # fmt: skip


def _target(each: Instruction) -> str:
    return each.attributes.get("custom_call_target", each.opcode).strip('"')


def _precision(each: Instruction, dtype: str, platform: str) -> tuple[str, int]:
    """In XLA's words, `default` where it has none; and passes over 16 bits where the unit for products has no other."""
    algorithm = each.attributes.get("algorithm", "")
    words = each.attributes.get("operand_precision", "").strip("{}").split(",")
    precision = algorithm or max(words, key=lambda word: _PASSES.get(word, 0)) or "default"
    if platform != "tpu":
        return precision, 0
    return precision, _PASSES.get(precision, 0) if dtype == "f32" else 1


def dot_flops(each: Instruction, lhs: Shape) -> float:
    """Two for each multiplication of a dot: of the result's elements times what is contracted."""
    contracted = (int(axis) for axis in re.findall(r"\d+", each.attributes.get("lhs_contracting_dims", "")))
    return 2.0 * prod(each.shapes[0].dims) * prod(lhs.dims[axis] for axis in contracted)


def convolution_flops(each: Instruction, lhs: Shape, rhs: Shape) -> float:
    """The same of a convolution, as which a TPU has its products: padding and holes are no work."""
    sides, _, result = each.attributes["dim_labels"].partition("->")
    inputs, _, kernel = sides.partition("_")
    window = _window(each.attributes.get("window", ""), sum(label.isdigit() for label in result))
    work = 2.0 * rhs.dims[kernel.index("i")]
    for place, label in enumerate(result):
        size = each.shapes[0].dims[place]
        work *= met(size, lhs.dims[inputs.index(label)], *window[int(label)]) if label.isdigit() else size
    return work


class _Dimension(NamedTuple):
    size: int
    stride: int
    low: int
    lhs_dilate: int
    rhs_dilate: int


@cache
def met(results: int, values: int, size: int, stride: int, low: int, lhs_dilate: int, rhs_dilate: int) -> int:
    """How many pairs of a result and a place of the window meet a value, not padding or a hole, in one dimension."""
    end = (values - 1) * lhs_dilate + 1
    count = 0
    for place in range(size):
        first = place * rhs_dilate - low
        if stride == 1:  # values lie at every lhs_dilate-th place from `first` on
            start, stop = max(0, first), min(first + results, end)
            count += max(0, -(-stop // lhs_dilate) - -(-start // lhs_dilate))
        else:
            at = range(first, first + results * stride, stride)
            count += sum(0 <= value < end and value % lhs_dilate == 0 for value in at)
    return count


def _window(text: str, rank: int) -> Sequence[_Dimension]:
    """What `window={size=2x5 pad=0_0x4_4 lhs_dilate=2x1}` says of each dimension."""
    said = dict(word.split("=", 1) for word in text.strip("{}").split())
    numbers = {
        name: [int(number) for number in said[name].split("x")] if name in said else [default] * rank
        for name, default in _WORDS.items()
    }
    lows = [int(pair.partition("_")[0]) for pair in said["pad"].split("x")] if "pad" in said else [0] * rank
    columns = (numbers["size"], numbers["stride"], lows, numbers["lhs_dilate"], numbers["rhs_dilate"])
    return [_Dimension(*row) for row in zip(*columns, strict=True)]
