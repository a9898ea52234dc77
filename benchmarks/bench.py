"""Speed of jax_llama4 beside HF torch on one machine: prefill, decode, vision tower, and the mixture of experts.

Usage: python benchmarks/bench.py [--quick] [--dtypes f32 bf16] [--hf eager sdpa] [--threads N] [--json FILE]

All load the same checkpoints and run on the same N cores, each framework in a process of its own. Repeats go round:
every child is asked once, then again, and while one measures the others wait on their input. What else the machine does
falls on all alike, but it does fall on them: look at the load average that is printed.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sizes import SIZES, Size

HERE = Path(__file__).parent
# Torch keeps its threads spinning for a while after a product; the next child must not be measured against them.
PAUSE_S = 0.3
# Each with what is compared after it.
JOBS = {"prefill": "logits", "decode": None, "tower": "features"}
MIXTURE = ("alone", "routed", "dense", "layer")


class Child:
    """One framework's process; see `child.serve`."""

    def __init__(self, name: str, arguments: list[str], cores: list[int]):
        self.name = name
        count = str(len(cores))
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), count)
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads | offline,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {self.name} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, job: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(job + "\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def children(
    folder: Path, size_name: str, dtype: str, attentions: list[str], cores: list[int]
) -> Iterator[list[Child]]:
    """HF's children and then jax_llama4's, loaded and ready."""
    common = [str(folder), size_name, dtype]
    hf = str(HERE / "hf_child.py")
    started = [Child(f"hf {word}", [hf, *common, word, str(len(cores))], cores) for word in attentions]
    started.append(Child("jax", [str(HERE / "jax_child.py"), *common], cores))
    try:
        yield started
    finally:
        for child in started:
            child.end()


def measure(dtype: str, size: Size, running: list[Child], folder: Path) -> dict[str, Any]:
    """Seconds of every repeat of every job, and how far what the frameworks computed lies apart."""
    about = {child.name: child.answer() for child in running}
    seconds: dict[str, dict[str, list[float]]] = {}
    apart: dict[str, dict[str, float]] = {}
    for job, compared in JOBS.items():
        seconds[job] = {child.name: [] for child in running}
        for child in running:
            child.ask(job)  # compiles, and touches what is touched once
        for _ in range(size.repeats):
            for child in running:
                time.sleep(PAUSE_S)
                seconds[job][child.name].append(child.ask(job)["seconds"])
        if compared is not None:
            for child in running:
                child.ask(f"save {compared}")
            apart[compared] = distances(compared, dtype, running, folder)
    for place in ("prefill", "decode"):
        seconds[f"mixture {place}"] = {name: [] for name in MIXTURE}
        for name in MIXTURE:
            running[-1].ask(f"{name} {place}")
        for _ in range(size.repeats):
            for name in MIXTURE:
                seconds[f"mixture {place}"][name].append(running[-1].ask(f"{name} {place}")["seconds"])
    return {"about": about, "seconds": seconds, "apart": apart}


def distances(what: str, dtype: str, running: list[Child], folder: Path) -> dict[str, float]:
    """How far what jax_llama4 saved lies from what each of the others did."""
    saved = {child.name: np.load(folder / f"{what}-{child.name}-{dtype}.npy") for child in running}
    found = saved.pop("jax")
    return {name: float(np.linalg.norm(found - hf) / np.linalg.norm(hf)) for name, hf in saved.items()}


def cpu() -> str:
    """Its name, and the instructions that decide how fast 16 bits are."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag} " in info + " "]
    return f"{name or platform.processor()} ({', '.join(flags)})"


def speed_table(results: dict[str, Any], unit: str, amounts: dict[str, int], pick: Any) -> list[list[str]]:
    """Rates of these jobs, each of which works on so many of the unit."""
    names = list(next(iter(results.values()))["seconds"]["prefill"])
    *hf, ours = names
    rows = [[f"{unit}/s", "dtype", *names, *(f"jax / {name}" for name in hf)]]
    for job, amount in amounts.items():
        for dtype, result in results.items():
            rate = {name: amount / pick(times) for name, times in result["seconds"][job].items()}
            ratios = [f"{rate[ours] / rate[name]:.2f}x" for name in hf]
            rows.append([job, dtype, *(f"{rate[name]:.1f}" for name in names), *ratios])
    return rows


def mixture_table(results: dict[str, Any], size: Size, pick: Any) -> list[list[str]]:
    header = ["products alone", "routed", "dense", "layer", "routed / alone", "dense / alone", "layer / alone"]
    rows = [["mixture, ms", "dtype", *header]]
    for place, tokens in (("prefill", size.prompt_tokens), ("decode", 1)):
        for dtype, result in results.items():
            ms = {name: 1e3 * pick(times) for name, times in result["seconds"][f"mixture {place}"].items()}
            ratios = [f"{ms[name] / ms['alone']:.2f}x" for name in ("routed", "dense", "layer")]
            label = f"{tokens} token{'s' if tokens > 1 else ''}"
            rows.append([label, dtype, *(f"{ms[name]:.2f}" for name in MIXTURE), *ratios])
    return rows


def show(title: str, rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        labels = [row[column].ljust(widths[column]) for column in range(2)]
        print("  ".join(labels + [row[column].rjust(widths[column]) for column in range(2, len(row))]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a size that says nothing about speed, for tests")
    parser.add_argument("--dtypes", nargs="+", choices=("f32", "bf16"), default=["f32", "bf16"])
    parser.add_argument("--hf", nargs="+", choices=("eager", "sdpa"), default=["eager", "sdpa"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="also write every measurement to this file")
    options = parser.parse_args()
    size_name = "quick" if options.quick else "200M"
    size = SIZES[size_name]
    cores = sorted(os.sched_getaffinity(0))[: options.threads]

    results: dict[str, Any] = {}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ids = np.random.default_rng(0).integers(1, size.config["vocab_size"], (1, size.prompt_tokens))
        np.save(folder / "prompt.npy", ids)
        side = size.vision_config["image_size"]
        pixels = np.random.default_rng(0).uniform(-1, 1, (size.tiles, 3, side, side))
        np.save(folder / "pixels.npy", pixels.astype("float32"))
        subprocess.run([sys.executable, str(HERE / "hf_child.py"), made, size_name, "write"], check=True)
        for dtype in options.dtypes:
            with children(folder, size_name, dtype, options.hf, cores) as running:
                results[dtype] = measure(dtype, size, running, folder)
            loads.append(os.getloadavg()[0])
            # At once: on a CPU without 16-bit instructions HF's bfloat16 takes most of an hour.
            if len(results) == 1:
                about = results[dtype]["about"]
                versions = {name: version for child in about.values() for name, version in child["versions"].items()}
                print(f"{cpu()}, {len(cores)} threads")
                print(", ".join(f"{name} {version}" for name, version in versions.items()))
                describe(about["jax"], size)
            print(f"\n{dtype}, load average {loads[-2]:.1f} before, {loads[-1]:.1f} after")
            tell(dtype, results[dtype], size)
    if options.json is not None:
        facts = {"cpu": cpu(), "threads": len(cores), "load_average": loads, "versions": versions, "size": size_name}
        options.json.write_text(json.dumps(facts | {"results": results}, indent=1))


def describe(about: dict[str, Any], size: Size) -> None:
    """What is measured: the models and how much of them is run."""
    million = about["parameters"] / 1e6
    print(
        f"{million:.1f} million parameters, {size.config['num_local_experts']} experts; batch 1, a prompt of "
        f"{size.prompt_tokens} tokens, then {size.decode_tokens} more a repeat; {size.repeats} repeats"
    )
    million = about["vision_parameters"] / 1e6
    print(
        f"vision tower of {million:.1f} million parameters, {size.vision_config['num_hidden_layers']} layers; "
        f"{size.tiles} tiles of {size.vision_config['image_size']} pixels a side a repeat"
    )


def tell(dtype: str, result: dict[str, Any], size: Size) -> None:
    """What was measured in one dtype, as tables."""
    for what, by_name in result["apart"].items():
        apart = ", ".join(f"{name} {value:.1e}" for name, value in by_name.items())
        print(f"{what}, jax_llama4 apart from HF: {apart}")
    tokens = {"prefill": size.prompt_tokens, "decode": size.decode_tokens}
    for title, pick in (("Medians", statistics.median), ("Best of the repeats", min)):
        show(title, speed_table({dtype: result}, "tokens", tokens, pick))
        show(title, speed_table({dtype: result}, "tiles", {"tower": size.tiles}, pick))
        show(title, mixture_table({dtype: result}, size, pick))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
