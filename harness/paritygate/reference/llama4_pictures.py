"""Crops of photographs as HuggingFace's Llama 4 processor gives them to the model: tiles, and runs of tokens."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from transformers import Llama4Processor
from transformers.image_transforms import split_to_tiles

from paritygate.core.family import Picture
from paritygate.reference.photos import crop
from paritygate.reference.tensors import to_numpy

# Tokens of the processor that a model's config does not name. Bytes of text end at 255.
GLOBAL_TILE, TILE_X, TILE_Y = 259, 260, 261


def pictures(
    picture: Picture, photo: np.ndarray, random: np.random.Generator, config: Mapping[str, Any]
) -> tuple[np.ndarray, list[int]]:
    """The tiles of a crop, bfloat16 (I, C, h, w), and the ids of the tokens that stand for it.

    The crop has the shape of the picture's grid of tiles; where that is more than one, the whole crop follows as one
    more tile.
    """
    vision = config["vision_config"]
    side = vision["image_size"]
    zoomed = side * picture.zoom
    piece = crop(photo, picture.rows * zoomed, picture.columns * zoomed, random)
    return tiles(piece, side, (picture.rows, picture.columns)), run((picture.rows, picture.columns), config)


def tiles(piece: np.ndarray, side: int, grid: tuple[int, int]) -> np.ndarray:
    """What `Llama4ImageProcessor(size=side, max_patches=rows · columns)` makes of a piece, uint8 (H, W, 3).

    Not by that class itself: it imports torchvision, whose wheels load in a CUDA build of torch only, and elsewhere
    keep transformers from being imported at all. A test holds these values to the class's own.
    Its choice of a grid is not taken: a piece has the shape of the grid that the picture asks for.
    """
    rows, columns = grid
    image = torch.from_numpy(piece.transpose(2, 0, 1).copy())[None]
    found = split_to_tiles(_normalized(_resized(image, rows * side, columns * side)), rows, columns)[0]
    if rows * columns > 1:
        found = torch.cat([found, _normalized(_resized(image, side, side))])
    return to_numpy(found)


def _resized(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return interpolate(image, size=(height, width), mode="bilinear", antialias=True)


def _normalized(image: torch.Tensor) -> torch.Tensor:
    # HF: rescaled and normalised in bfloat16, whatever the model's dtype.
    return (image.to(torch.bfloat16) * (1 / 255) - 0.5) / 0.5


def run(grid: tuple[int, int], config: Mapping[str, Any]) -> list[int]:
    """The ids of the tokens that stand for a picture, in the layout of HF's own processor."""
    vision = config["vision_config"]
    side = round(vision["image_size"] // vision["patch_size"] * vision["pixel_shuffle_ratio"])
    ids = {
        "<|image_start|>": config["boi_token_index"],
        "<|image_end|>": config["eoi_token_index"],
        "<|patch|>": config["image_token_index"],
        "<|image|>": GLOBAL_TILE,
        "<|tile_x_separator|>": TILE_X,
        "<|tile_y_separator|>": TILE_Y,
    }
    layout: Any = Llama4Processor._prompt_split_image
    return [ids[word] for word in re.findall(r"<\|\w+\|>", layout(None, grid, side**2))]
