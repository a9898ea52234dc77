"""Measure how much host memory loading and saving take for a while; prints one line of JSON a case. Linux only.

Usage: python peak_memory.py FOLDER [WIDTH]: writes checkpoints of 4 and of 12 layers of that width (512) into FOLDER,
then measures in a fresh process. On a CPU the model itself is in host memory, so what counts is what a tensor takes on
its way and gives back: `passing_bytes` is the largest difference, over all tensors, between the peak of resident memory
while one is read or written and the memory that is resident after it.
"""

import gc
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics, Progress, combine, make_mesh
from jax_llama4.checkpoint import abstract_model, parameters
from jax_llama4.tensor_files import NewTensor, write_folder

BFLOAT16 = Numerics.like_hf("bfloat16")
# Where the model goes, whether its layers are stacked, and whether reading or writing it is measured.
CASES = {
    "load": {},
    "load onto a mesh": {"mesh": True},
    "load stacked": {"scan_layers": True},
    "save": {"save": True},
    "save stacked": {"scan_layers": True, "save": True},
}
DEPTHS = {"shallow": 4, "deep": 12}


def config_of(layers: int, width: int) -> Llama4TextConfig:
    return Llama4TextConfig(
        vocab_size=width,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=width // 8,
        num_local_experts=6,
        no_rope_layer_interval=2,
    )


def write(folder: Path, layers: int, width: int) -> None:
    config, rng = config_of(layers, width), np.random.default_rng(0)

    def values(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        yield rng.standard_normal(shape, "float32").astype(BFLOAT16.param)

    tensors = [
        NewTensor(name, parameter.stored_shape, BFLOAT16.param, lambda shape=parameter.stored_shape: values(shape))
        for name, parameter in parameters(abstract_model(Llama4ForCausalLM, config, BFLOAT16)).items()
    ]
    write_folder(folder, config.to_dict(), tensors, 1000**3)


def resident(field: str) -> int:
    """Bytes, from the kernel's books of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


class Passing:
    """Called after each tensor: keeps the most that one took beyond what stayed."""

    def __init__(self):
        self.most_bytes = 0
        self.begin()

    def begin(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again at what is resident

    def __call__(self, progress: Progress) -> None:
        self.most_bytes = max(self.most_bytes, resident("VmHWM") - resident("VmRSS"))
        self.begin()


def passing(folder: Path, save: bool = False, mesh: bool = False, **options: Any) -> tuple[int, Any]:
    """The most that a tensor took for a while, and the model."""
    if mesh:
        names = ("fsdp", "tensor", "expert")
        options |= {"mesh": make_mesh((2, 2, 2), names), "rules": combine(*names)}
    gc.collect()  # an earlier model that went while a tensor is read would count as what the tensor took
    seen = Passing()
    model = Llama4ForCausalLM.from_pretrained(folder, progress=seen, **options)
    if save:
        seen = Passing()
        model.save_pretrained(folder / "saved", progress=seen)
    return seen.most_bytes, model


def measure(folder: Path, case: str) -> dict[str, Any]:
    passing(folder / "warm-up", **CASES[case])
    facts: dict[str, Any] = {"case": case}
    for name in DEPTHS:
        most, model = passing(folder / name, **CASES[case])
        sizes = [math.prod(parameter.shape) * BFLOAT16.param.itemsize for parameter in parameters(model).values()]
        facts[name] = {"passing_bytes": most, "model_bytes": sum(sizes), "largest_bytes": max(sizes)}
    return facts


def main(folder: Path, width: int) -> None:
    write(folder / "warm-up", 4, 64)
    for name, layers in DEPTHS.items():
        write(folder / name, layers, width)
    # Memory that malloc keeps for later would hide what the next case takes.
    settings = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "MALLOC_MMAP_THRESHOLD_": "65536"}
    subprocess.run([sys.executable, __file__, str(folder), "measure"], env=os.environ | settings, check=True)


if __name__ == "__main__":
    if sys.argv[2:] == ["measure"]:
        for case in CASES:
            print(json.dumps(measure(Path(sys.argv[1]), case)), flush=True)
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 512)
