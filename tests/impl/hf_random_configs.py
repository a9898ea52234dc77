"""Child process: run HF Llama 4 in true float64 on the cases of `random_configs`; writes SEED.npz.

Usage: python hf_random_configs.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import random_configs
import torch
from hf_reference import build, lift_islands, run, run_cached


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # the tensors are tiny
    lift_islands()
    for seed in random_configs.SEEDS:
        case = random_configs.draw(seed)
        model = build(case.config, torch.float64)
        whole = run(model, case.prompt)
        found = {f"weights/{name}": value.numpy() for name, value in model.state_dict().items()}
        found |= {f"router_logits/{name}": value for name, value in whole.items() if name.startswith("router_logits")}
        found |= {"uncached": whole["logits"], "cached": run_cached(model, case.prompt, case.split)}
        np.savez(folder / f"{seed}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
