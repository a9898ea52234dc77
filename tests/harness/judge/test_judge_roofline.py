"""What is sent between devices, the least time, and the order of layouts."""

import pytest

from paritygate.catalog.meshes import parse_axes
from paritygate.catalog.targets import parse_target
from paritygate.core.compilation import Compilation, Compiled, Dot, Order
from paritygate.core.program import Collective, Program
from paritygate.judge.roofline import ranked, timed, traffic

AXES = parse_axes("fsdp16tp4")
MEMORY = {"arguments": 2765 * 10**6, "results": 5, "shared": 5, "temporaries": 0, "code": 0}


def compilation(mesh: str, passes: int = 1, target: str = "v5p:4x4x4", **changes: str) -> Compilation:
    order = Order("llama4", "scout", parse_target(target), parse_axes(mesh), "bf16", "prefill", 16, 2048)
    dtype = changes.get("dtype", "bf16")
    dot = Dot("moe.py:31", dtype, dtype, "f32", "highest", passes, "", 1, 459e12)
    made = Compiled((dot,), Program(memory_bytes=MEMORY))
    return Compilation(order, order.cell, "fits", 1.0, compiled=made, needed_bytes=made.peak_bytes)


@pytest.mark.parametrize(
    ("kind", "axes", "sent"),
    [
        ("all-gather", "fsdp", 960),
        ("all-reduce", "tp", 1536),
        ("reduce-scatter", "tp", 3072),
        ("all-to-all", "fsdp+tp", 1008),
        ("collective-permute", "fsdp", 1024),
        ("all-gather", "8 groups of 8, no axis of the mesh", 1008),
    ],
)
def test_what_a_device_sends_for_a_result_of_1024_bytes(kind: str, axes: str, sent: int) -> None:
    (row,) = traffic(Program(collectives=(Collective(kind, axes, "bf16", (512,), 1024),)), AXES)
    assert (row.count, row.result_bytes, row.wire_bytes) == (1, 1024, sent)


def test_turns_and_counts_multiply_and_unknown_turns_are_one() -> None:
    each = Collective("all-gather", "tp", "bf16", (512,), 1024, loop="loop", turns=12, count=3)
    unknown = Collective("all-gather", "tp", "bf16", (512,), 1024, loop="loop")
    (row,) = traffic(Program(collectives=(each, unknown)), AXES)
    assert (row.count, row.result_bytes) == (37, 37 * 1024)


def test_the_least_time_is_each_part_at_its_peak_and_passes_are_work() -> None:
    once, six = timed(compilation("fsdp16tp4")), timed(compilation("fsdp16tp4", passes=6, dtype="f32"))
    assert once.roofline is not None and six.roofline is not None
    assert (once.roofline.compute_s, six.roofline.compute_s) == (1.0, 6.0)
    assert (once.roofline.memory_s, once.roofline.communication_s, once.roofline.bound_by) == (1e-3, 0.0, "compute")


def test_what_fits_comes_first_then_what_is_too_large_then_what_failed() -> None:
    order = compilation("fsdp16tp4").order
    slow, fast = timed(compilation("fsdp64", passes=2)), timed(compilation("fsdp16tp4"))
    large = Compilation(order, "large", "too large", 1.0, needed_bytes=7)
    failed = Compilation(order, "failed", "failed", 1.0)
    assert ranked([failed, large, slow, fast]) == [fast, slow, large, failed]
