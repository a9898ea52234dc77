"""Child process: run HF Llama 4 in true float64 on the cases of `random_configs`; writes SEED.npz.

Usage: python hf_random_configs.py FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import random_configs
import torch
from hf_reference import build, lift_islands, run, run_cached
from transformers import PreTrainedModel


def results(model: PreTrainedModel, case: Any) -> dict[str, np.ndarray]:
    """Logits of the whole prompt and of the prompt in pieces; weights and router logits."""
    whole = run(model, case.prompt)
    found = {f"weights/{name}": value.numpy() for name, value in model.state_dict().items()}
    found |= {f"router_logits/{name}": value for name, value in whole.items() if name.startswith("router_logits")}
    return found | {"uncached": whole["logits"], "cached": run_cached(model, case.prompt, case.split)}


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # the tensors are tiny
    lift_islands()
    for seed in random_configs.SEEDS:
        case = random_configs.draw(seed)
        np.savez(folder / f"{seed}.npz", **results(build(case.config, torch.float64), case))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
