"""Products of 16-bit peers: torch's own kernels beside upcast, multiplied in float32 and rounded once, on one core.

Usage: python benchmarks/products.py [--quick] [--dtypes bf16 f16] [--repeats N]

Each is measured on the CPU as it is and, where that has 16-bit products of its own, as if it had none: in a child whose
oneDNN, MKL and torch go no further than AVX2. Native and upcast take turns, and what is counted is the processor's time
of the one thread: what else the machine does falls on both, and little of it is counted. No test asserts a time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from bench import cpu
from sizes import SIZES

from paritygate.catalog.select import families
from paritygate.reference.build import Reference
from paritygate.reference.products import NARROW, Upcast, product_paths

DTYPES = {"bf16": "bfloat16", "f16": "float16"}
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}

Work = Callable[[], Any]


def shapes(quick: bool) -> dict[str, tuple[Callable[..., torch.Tensor], tuple[int, ...], tuple[int, ...]]]:
    """By its name, an operation and the shapes of its two operands."""
    t, d, f, heads = (16, 32, 24, 2) if quick else (512, 1024, 1024, 8)
    return {
        "x @ y": (torch.matmul, (t, d), (d, f)),
        "x.T @ y": (lambda x, y: x.T @ y, (d, t), (d, f)),
        "bmm": (torch.bmm, (heads, t // 2, d // 4), (heads, d // 4, f // 2)),
        "bmm, scores": (lambda x, y: torch.bmm(x, y.mT), (heads, t, d // 8), (heads, t, d // 8)),
        "F.linear": (torch.nn.functional.linear, (t, d), (f, d)),
        "F.linear, one row": (torch.nn.functional.linear, (1, d), (f, d)),
    }


def timed(work: Work, repeats: int, dtype: torch.dtype) -> tuple[dict[str, list[float]], Any, Any]:
    """Seconds of each path, in turns, and what each computed."""
    paths = {"native": nullcontext(), "upcast": Upcast(dtype)}
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    found = {}
    for repeat in range(repeats + 1):
        for name, path in paths.items():
            with path:
                began = time.process_time()
                found[name] = work()
                took = time.process_time() - began
            if repeat:  # the first touches what is touched once
                seconds[name].append(took)
    return seconds, found["native"], found["upcast"]


def tell(name: str, dtype: str, work: Work, repeats: int, gflop: float = 0.0) -> None:
    seconds, native, upcast = timed(work, repeats, NARROW[DTYPES[dtype]])
    ms = {path: 1e3 * statistics.median(times) for path, times in seconds.items()}
    line = [f"{name:30}", f"{dtype:5}", f"{ms['native']:10.2f}", f"{ms['upcast']:10.2f}"]
    line.append(f"{ms['native'] / ms['upcast']:8.2f}x")
    line += [f"{1e3 * gflop / ms[path]:9.1f}" if gflop else " " * 9 for path in ms]
    if isinstance(native, torch.Tensor):
        line.append(f"{int((native != upcast).sum()):>8} of {native.numel()}")
    print("  ".join(line), flush=True)


def layer(size_name: str, dtype: torch.dtype) -> Work:
    """A forward pass of one layer and the head of HF's text model, on a prompt of a quarter of the size's."""
    size = SIZES[size_name]
    torch.manual_seed(0)
    config = transformers.Llama4TextConfig(**size.config | {"num_hidden_layers": 1})
    config._attn_implementation = "eager"
    model = transformers.Llama4ForCausalLM(config).to(dtype).eval()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(1, config.vocab_size, (1, size.prompt_tokens // 4)))

    @torch.no_grad()
    def work() -> torch.Tensor:
        return model(input_ids=tokens, logits_to_keep=1, use_cache=False).logits

    return work


def measure(quick: bool, dtypes: list[str], repeats: int) -> None:
    torch.set_num_threads(1)
    print(f"\n{'':30}  dtype   native ms   upcast ms    ratio      GFLOP/s, both      elements that differ")
    for dtype in dtypes:
        narrow = NARROW[DTYPES[dtype]]
        generator = torch.Generator().manual_seed(0)
        for name, (run, *both) in shapes(quick).items():
            x, y = (torch.randn(shape, generator=generator).to(narrow) for shape in both)
            result = run(x, y)
            terms = x.shape[0] if name == "x.T @ y" else x.shape[-1]
            tell(name, dtype, partial(run, x, y), repeats, 2e-9 * terms * result.numel())
        tell("a layer and the head, 200M", dtype, layer("quick" if quick else "200M", narrow), repeats)
        family = families()["llama4"]
        subject = Reference(family, family.preset("tiny-scout"), products={})
        prompt = family.prompt("long")
        inputs = subject.inputs(prompt, 0)
        _, model = subject.peers[dtype]
        tell("tiny-scout.long, whole pass", dtype, partial(subject.run, model, prompt, inputs), repeats)
        train = family.prompt("train")
        given = subject.inputs(train, 0)
        tell("tiny-scout.train, gradients", dtype, partial(subject.gradients, model, train, given), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="sizes that say nothing about speed, for tests")
    parser.add_argument("--dtypes", nargs="+", choices=tuple(DTYPES), default=list(DTYPES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--as-it-is", action="store_true", help="do not measure what a CPU with AVX2 alone would do")
    options = parser.parse_args()
    paths = ", ".join(f"{dtype} {path}" for dtype, path in product_paths().items())
    narrowed = "as if it went no further than AVX2, " if all(os.environ.get(name) for name in AVX2) else ""
    print(f"{cpu()}, {narrowed}1 thread, load average {os.getloadavg()[0]:.1f}; capture takes {paths}")
    measure(options.quick, options.dtypes, options.repeats)
    if not options.as_it_is and "native" in product_paths().values():
        sys.stdout.flush()
        again = [sys.executable, __file__, *sys.argv[1:], "--as-it-is"]
        raise SystemExit(subprocess.run(again, env=os.environ | AVX2, check=False).returncode)


if __name__ == "__main__":
    main()
