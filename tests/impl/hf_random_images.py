"""Child process: run HF's multimodal Llama 4 in true float64 on the cases of `random_images`; writes SEED.npz.

Usage: python hf_random_images.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import random_images
import torch
from hf_multimodal import build
from hf_random_configs import results
from hf_reference import lift_islands


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # the tensors are tiny
    lift_islands()
    for seed in random_images.SEEDS:
        case = random_images.draw(seed)
        np.savez(folder / f"{seed}.npz", **results(build(case.config, torch.float64), case))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
