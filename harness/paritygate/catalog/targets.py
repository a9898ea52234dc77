"""Devices that a program can be compiled for without them, and the meshes that make sense on them; plain data."""

import re
from collections.abc import Mapping

from paritygate.core.cell import Axes
from paritygate.core.compilation import Chip, Pass, Target
from paritygate.core.errors import UsageError, unknown_name

_GIB = 1 << 30

# TPUs: Google Cloud's "System architecture" page of each (docs.cloud.google.com/tpu/docs/v5e, v5p, v6e, tpu7x). Their
# interconnect is stated both ways together, of which half is taken. A chip of tpu7x is two devices, so its numbers are
# halved. The unit for products has no float32: it is passes over bfloat16, which `Dot.passes` counts. GPUs: NVIDIA's
# data sheets of the H100 SXM and H200 SXM, dense numbers; 450 GB/s one way of NVLink in a host, 400 Gbit/s a GPU
# between hosts; of the memory what CUDA leaves.
_H100 = """gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: {bandwidth} l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: {memory} shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 minor: 0 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{name}" """
_HOPPER = {"bf16": 989e12, "f16": 989e12, "f8e4m3fn": 1979e12, "f8e5m2": 1979e12, "s8": 1979e12, "f32": 67e12}
_CHIPS = (
    Chip("v5e", "tpu", 16 * _GIB, {"bf16": 197e12, "s8": 393e12}, 819e9, 200e9, (2,), "v5e:4x4"),
    Chip("v5p", "tpu", 95 * _GIB, {"bf16": 459e12, "s8": 918e12}, 2765e9, 600e9, (3,), "v5p:4x4x4"),
    Chip("v6e", "tpu", 32 * _GIB, {"bf16": 918e12, "s8": 1836e12}, 1600e9, 400e9, (2,), "v6e:8x8"),
    Chip(
        "tpu7x", "tpu", 96 * _GIB, {"bf16": 1153e12, "f8e4m3fn": 2307e12, "f8e5m2": 2307e12}, 3690e9, 300e9, (3,),
        "tpu7x:2x2x2", each=2,
    ),
    Chip(
        "h100", "gpu", 84_978_434_048, _HOPPER, 3352e9, 450e9, (1, 2), "h100:8", network_bytes_s=50e9,
        proto=_H100.format(bandwidth=3352320000000, memory=84978434048, name="NVIDIA H100 80GB HBM3"),
    ),
    Chip(
        "h200", "gpu", 150_000_000_000, _HOPPER, 4800e9, 450e9, (1, 2), "h200:8", network_bytes_s=50e9,
        proto=_H100.format(bandwidth=4800000000000, memory=150000000000, name="NVIDIA H200"),
    ),
    # Rehearsals: virtual devices of this machine's own CPU. Its peaks are round numbers of a small machine.
    Chip("cpu", "cpu", 16 * _GIB, {"bf16": 1e11, "f32": 1e11, "f64": 5e10, "f16": 1e11}, 2e10, 1e10, (1,), "cpu:8"),
)  # fmt: skip
CHIPS: Mapping[str, Chip] = {chip.name: chip for chip in _CHIPS}

# What each pass is compiled for where nothing is said: rows for each way in which the batch is split, and their tokens.
DEFAULT_ROWS: Mapping[Pass, int] = {"prefill": 1, "decode": 8, "train": 1}
DEFAULT_LENGTH: Mapping[Pass, int] = {"prefill": 2048, "decode": 8192, "train": 2048}

_MOST_GPUS = 8  # of one host


def parse_target(text: str) -> Target:
    """`v5p:4x4x4` and its like; raises UsageError that says what there is."""
    name, _, given = text.partition(":")
    if name not in CHIPS:
        raise unknown_name("target", name, list(CHIPS))
    chip = CHIPS[name]
    numbers = given.split("x")
    if len(numbers) not in chip.ranks or not all(re.fullmatch("[1-9][0-9]*", number) for number in numbers):
        like = {1: "a number of devices", 2: "two numbers", 3: "three numbers"}[chip.ranks[0]]
        also = ", or hosts x devices of a host" if chip.platform == "gpu" else ""
        raise UsageError("bad shape of a target", where=repr(text), expected=f"{like}{also}, such as {chip.example}")
    target = Target(chip, tuple(map(int, numbers)))
    if chip.platform == "gpu" and target.shape[-1] > _MOST_GPUS:
        raise UsageError(
            "more GPUs than a host has",
            where=repr(text),
            expected=f"at most {_MOST_GPUS} a host",
            try_=f"--target {name}:{-(-target.devices // _MOST_GPUS)}x{_MOST_GPUS}",
        )
    return target


def default_axes(target: Target) -> Axes:
    """Weights split over all devices; products over the four of a TPU ring, or over the GPUs of a host."""
    most = 8 if target.chip.platform == "gpu" else 4
    tp = next(size for size in range(most, 0, -1) if target.devices % size == 0)
    return _named({"fsdp": target.devices // tp, "tp": tp})


def layouts(target: Target, experts: int) -> list[Axes]:
    """What a sweep tries: products over up to 8 devices, and beside them weights split by width or also by expert."""
    found: dict[Axes, None] = {}
    for tp in (1, 2, 4, 8):
        if target.devices % tp == 0:
            rest = target.devices // tp
            found[_named({"fsdp": rest, "tp": tp})] = None
            ep = max(size for size in range(1, experts + 1) if experts % size == 0 and rest % size == 0)
            found[_named({"fsdp": rest // ep, "ep": ep, "tp": tp})] = None
    return [axes for axes in found if axes]


def _named(sizes: Mapping[str, int]) -> Axes:
    return tuple((kind, size) for kind, size in sizes.items() if size > 1)
