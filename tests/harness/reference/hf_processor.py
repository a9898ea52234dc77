"""Run in a process of its own: HF's image processor on pieces of a photograph, tiles to a .npz by grid.

Usage: python hf_processor.py FOLDER_OF_TORCHVISION PIECES.npz OUT.npz
"""

import re
import sys
from pathlib import Path

import numpy as np
import torch

SIDE = 16


def declare_operators(folder: Path) -> torch.library.Library:
    """Names for torchvision's compiled operators, none of which a processor calls: its wheels load beside CUDA only."""
    library = torch.library.Library("torchvision", "DEF")
    source = (folder / "torchvision" / "_meta_registrations.py").read_text()
    for name in set(re.findall(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"\)', source)):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


def main(folder: str, pieces: str, out: str) -> None:
    sys.path.append(folder)
    kept = declare_operators(Path(folder))
    from transformers import Llama4ImageProcessor

    made = {}
    with np.load(pieces) as arrays:
        for name, piece in arrays.items():
            rows, columns = map(int, name.split("x"))
            processor = Llama4ImageProcessor(size={"height": SIDE, "width": SIDE}, max_patches=rows * columns)
            values = processor(images=[piece], return_tensors="pt")["pixel_values"]
            made[name] = values.view(torch.int16).numpy()  # bfloat16, which NumPy's files do not know
    del kept
    np.savez(out, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
