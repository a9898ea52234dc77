"""The least time that a compiled pass can take on a target, from its work, its bytes and the target's peaks."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from math import prod

from paritygate.core.compilation import Axes, Chip, Compilation, Compiled, Order, Roofline, Traffic
from paritygate.core.program import Program


def roofline(made: Compiled, sent: Iterable[Traffic], order: Order) -> Roofline:
    """Products at the peak of their dtype; memory and links at theirs, each as if nothing else took time."""
    chip, sent = order.target.chip, tuple(sent)
    notes = [
        "compute: products at the peak of their dtype",
        "memory: arguments and results once, what collectives bring written and read, no activations",
        "communication: rings over all links at once",
    ]
    rate = chip.link_bytes_s
    if len(order.target.shape) > 1 and order.target.shape[0] > 1 and chip.network_bytes_s:
        rate = chip.network_bytes_s
        notes[-1] = "communication: all of it between hosts"
    unknown = sorted({d for dot in made.dots for d in (dot.lhs, dot.rhs) if d not in chip.flops and d != "f32"})
    if unknown:
        notes.append(f"no peak is stated for {', '.join(unknown)}: at the slowest")
    memory = made.program.memory_bytes
    moved = memory["arguments"] + memory["results"] - memory["shared"]
    moved += 2 * sum(row.result_bytes for row in sent)
    return Roofline(
        sum(dot.flops * max(dot.passes, 1) / peak(chip, (dot.lhs, dot.rhs)) for dot in made.dots),
        moved / chip.memory_bytes_s,
        sum(row.wire_bytes for row in sent) / rate,
        tuple(notes),
    )


def traffic(program: Program, axes: Axes) -> tuple[Traffic, ...]:
    """Rows by kind, dtype and axes, most bytes on the wire first; a loop whose turns are not known counts once."""
    sizes = dict(axes)
    found: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0, 0])
    for each in program.collectives:
        times = each.count * max(each.turns, 1)
        # A grouping that no axes make is taken to join all devices, which sends most.
        group = prod(sizes.get(name, prod(sizes.values())) for name in each.axes.split("+"))
        row = found[each.kind, each.dtype, each.axes]
        row[0] += times
        row[1] += each.bytes * times
        row[2] += each.bytes * sent_x(each.kind, group) * times
    rows = [
        Traffic(*key, count=int(n), result_bytes=int(got), wire_bytes=round(sent))
        for key, (n, got, sent) in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.wire_bytes, row.kind, row.dtype, row.axes)))


def sent_x(kind: str, group: int) -> float:
    """Bytes that a device sends, as a part of its result, where a group stands in a ring."""
    others = (group - 1) / group
    match kind:
        case "all-reduce":
            return 2 * others
        case "reduce-scatter":
            return float(group - 1)
        case "collective-permute" | "collective-broadcast":
            return 1.0
        case _:
            return others


def peak(chip: Chip, dtypes: Iterable[str]) -> float:
    """FLOP/s of products of these operands: of the wider one; a TPU's float32 is passes over bfloat16."""
    slowest = min(chip.flops.values())
    fallback = chip.flops["bf16"] if chip.platform == "tpu" else slowest
    return min(chip.flops.get(dtype, fallback) for dtype in dtypes)


def timed(found: Compilation) -> Compilation:
    """The same with its roofline, where there is a program."""
    if found.compiled is None:
        return found
    sent = traffic(found.compiled.program, found.order.axes)
    return replace(found, traffic=sent, roofline=roofline(found.compiled, sent, found.order))


def ranked(found: Iterable[Compilation]) -> list[Compilation]:
    """Those that fit by their least time, then those that are too large by their need, then those that failed."""

    def key(each: Compilation) -> tuple[int, float]:
        if each.outcome == "fits" and each.roofline is not None:
            return 0, each.roofline.bound_s
        return (1, float(each.needed_bytes)) if each.outcome == "too large" else (2, 0.0)

    return sorted(found, key=key)
