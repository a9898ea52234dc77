"""Random tiny multimodal configurations, each with a padded prompt with images; NumPy only, read by both frameworks.

A case is a function of its seed. Weights are those of `impl_cases.draw_weights`, the text half that of
`random_configs`.
"""

from typing import Any

import multimodal_cases
import numpy as np
from random_configs import Case, between, chance, draw_mask, draw_positions, draw_split, one_of, text_config

SEEDS = range(15)


def draw(seed: int) -> Case:
    rng = np.random.default_rng([2026, seed])
    vision = _vision(rng)
    tokens = multimodal_cases.tokens_per_tile(vision)
    split = draw_split(rng, length=max(3, tokens * between(rng, 1, 2) + between(rng, 0, 3)))
    text = text_config(rng, sum(split))
    config = {"text_config": text, "vision_config": vision, "image_token_index": text["vocab_size"] - 1}
    return Case(config, _prompt(rng, config, split), split, spare=between(rng, 0, 3))


def _vision(rng: np.random.Generator) -> dict[str, Any]:
    joined, tokens_a_side = one_of(rng, (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 2), (4, 1))
    heads, patch = between(rng, 1, 4), between(rng, 1, 4)
    # What is left over of the width beside the heads is never seen by them.
    width = heads * 4 * between(rng, 1, 3) + (between(rng, 1, heads - 1) if heads > 1 and chance(rng, 0.6) else 0)
    features = 2 * between(rng, 5, 12)
    return {
        "hidden_size": width,
        "intermediate_size": width * joined**2,
        "num_hidden_layers": between(rng, 1, 3),
        "num_attention_heads": heads,
        "num_channels": one_of(rng, 1, 3, 4),
        "image_size": joined * tokens_a_side * patch + between(rng, 0, patch - 1),
        "patch_size": patch,
        "pixel_shuffle_ratio": 1 / joined,
        "projector_input_dim": features,
        "projector_output_dim": features,
        "vision_output_dim": features,
        "norm_eps": one_of(rng, 1e-6, 1e-5, 1e-2),
        "rope_parameters": {"rope_type": "default", "rope_theta": one_of(rng, 10.0, 100.0, 10000.0)},
    }


def _prompt(rng: np.random.Generator, config: dict[str, Any], split: tuple[int, ...]) -> multimodal_cases.ImagePrompt:
    image, tokens = config["image_token_index"], multimodal_cases.tokens_per_tile(config["vision_config"])
    batch, longest = between(rng, 2, 3), max(split)
    ids = rng.integers(0, image, (batch, sum(split)))
    # Every longer piece but perhaps the first has as many tiles, because each number of them is compiled.
    tiles = 1 if chance(rng, 0.4) else between(rng, 1, batch * (longest // tokens) - 1)
    begin = 0
    for piece, length in enumerate(split):
        if length == longest and (piece > 0 or longest not in split[1:] or chance(rng, 0.7)):
            _place(rng, ids[:, begin : begin + length], tiles, tokens, image)
        begin += length
    mask = np.stack([draw_mask(rng, sum(split)) for _ in range(batch)])
    if chance(rng, 0.5):  # otherwise padding may hide tokens of an image, which takes its features all the same
        mask[ids == image] = 1
    positions = np.stack([draw_positions(rng, row) for row in mask])
    rows = tuple(f"row {i}" for i in range(batch))
    labels = np.where(mask == 1, ids, -100)
    pixels = multimodal_cases.draw_pixels(rng, config["vision_config"], int((ids == image).sum()) // tokens)
    return multimodal_cases.ImagePrompt(rows, ids, mask, positions, labels, pixels, tokens, image)


def _place(rng: np.random.Generator, piece: np.ndarray, tiles: int, tokens: int, image: int) -> None:
    """Put that many tiles somewhere in the rows of the piece, in place."""
    room = piece.shape[1] // tokens
    rows = np.sort(rng.choice(np.repeat(np.arange(len(piece)), room), tiles, replace=False))
    for row, count in zip(*np.unique(rows, return_counts=True), strict=True):
        gaps = np.sort(rng.integers(0, piece.shape[1] - count * tokens, count, endpoint=True))
        for i, gap in enumerate(gaps):
            piece[row, gap + i * tokens : gap + (i + 1) * tokens] = image
