"""Tiny multimodal configurations, images and prompts that show every mechanism; NumPy only, read by both frameworks.

Weights are those of `impl_cases.draw_weights`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import impl_cases
import ml_dtypes  # noqa: F401  teaches NumPy the bfloat16 that pixels are stored in
import numpy as np
from safetensors.numpy import load_file

# Widths are distinct and, beside the adapter's fc2, no matrix is square. Heads times their width are never the model
# width, and `norm_eps`, which nobody reads, is far from the eps that LayerNorm has.
VISION = {
    "square": {
        "hidden_size": 26,
        "intermediate_size": 4 * 26,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "num_channels": 3,
        "image_size": 16,
        "patch_size": 4,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 22,
        "projector_output_dim": 22,
        "vision_output_dim": 22,
        "norm_eps": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    # Two rows and columns of pixels fill no patch.
    "thirds": {
        "hidden_size": 17,
        "intermediate_size": 9 * 17,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_channels": 1,
        "image_size": 26,
        "patch_size": 4,
        "pixel_shuffle_ratio": 1 / 3,
        "projector_input_dim": 19,
        "projector_output_dim": 19,
        "vision_output_dim": 19,
        "norm_eps": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
    # No shuffle: the feed-forward is as wide as the model, because the adapter takes that width.
    "unshuffled": {
        "hidden_size": 21,
        "intermediate_size": 21,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "num_channels": 4,
        "image_size": 10,
        "patch_size": 3,
        "pixel_shuffle_ratio": 1.0,
        "projector_input_dim": 18,
        "projector_output_dim": 18,
        "vision_output_dim": 18,
        "norm_eps": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
}
_TEXT = {"square": "scout", "thirds": "maverick", "unshuffled": "unusual"}
VOCAB = impl_cases.CONFIGS["scout"]["vocab_size"]
IMAGE_TOKEN, BOI, EOI = VOCAB - 1, VOCAB - 2, VOCAB - 3

CONFIGS = {
    name: {
        "text_config": impl_cases.CONFIGS[text] | {"tie_word_embeddings": False},
        "vision_config": VISION[name],
        "image_token_index": IMAGE_TOKEN,
        "boi_token_index": BOI,
        "eoi_token_index": EOI,
    }
    for name, text in _TEXT.items()
}


def tokens_per_tile(vision: dict[str, Any]) -> int:
    return round((vision["image_size"] // vision["patch_size"]) * vision["pixel_shuffle_ratio"]) ** 2


def draw_pixels(rng: np.random.Generator, vision: dict[str, Any], tiles: int) -> np.ndarray:
    """Random in every channel, row and column: a flat image hides the order of pixels and of patches."""
    return rng.standard_normal((tiles, vision["num_channels"], vision["image_size"], vision["image_size"]))


@dataclasses.dataclass(frozen=True)
class ImagePrompt(impl_cases.Prompt):
    """Text with images: each tile stands for `tokens_per_tile` image tokens, tiles in the order of rows and columns."""

    pixel_values: np.ndarray
    tokens_per_tile: int
    image_token: int

    def piece(self, slots: slice) -> dict[str, np.ndarray]:
        """As for text, with the tiles whose tokens lie in these columns; none may be cut."""
        text = super().piece(slots)
        _, columns = np.nonzero(self.input_ids == self.image_token)
        inside = np.isin(columns, np.arange(self.input_ids.shape[1])[slots])
        tiles = np.unique(np.flatnonzero(inside) // self.tokens_per_tile)
        assert inside.sum() == len(tiles) * self.tokens_per_tile, "a tile lies in two pieces"
        return text | {"pixel_values": self.pixel_values[tiles]} if len(tiles) else text


LENGTH = impl_cases.PROMPT.input_ids.shape[1]
# Row by row: at which columns images begin, and how many tiles each has.
Layout = dict[str, dict[int, int]]
_LAYOUT: Layout = {
    "one image of two tiles": {3: 2},
    "two images": {2: 1, 12: 1},
    "text only": {},
    "left padding": {7: 1},
    "right padding": {4: 1},
}
_PADDING = {"left padding": slice(0, 5), "right padding": slice(LENGTH - 4, LENGTH)}
# The images lie in the first call, or in the second, which begins inside a chunk; in few lengths, as for text.
SPLITS = {"prefill and steps": (21, *(1,) * 6), "images in the second call": (2, 21, *(1,) * 4)}


def _prompt(vision: dict[str, Any], layout: Layout, padding: dict[str, slice], length: int) -> ImagePrompt:
    rows, tokens = tuple(layout), tokens_per_tile(vision)
    rng = np.random.default_rng(17)
    ids = rng.integers(1, EOI, (len(rows), length))
    mask = np.ones_like(ids)
    for row, (name, images) in enumerate(layout.items()):
        mask[row, padding.get(name, slice(0, 0))] = 0
        for start, tiles in images.items():
            ids[row, start - 1] = BOI
            ids[row, start : start + tiles * tokens] = IMAGE_TOKEN
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    # Image tokens have labels too: the loss does not leave them out by itself. Padding predicts nothing: its scores are
    # all masked, by a sum in HF, through which gradients pass, and by a choice here, through which they do not.
    labels = np.where((mask == 1) & (np.roll(mask, 1, axis=1) == 1), ids, -100)
    pixels = draw_pixels(rng, vision, sum(sum(images.values()) for images in layout.values()))
    return ImagePrompt(rows, ids, mask, positions, labels, pixels, tokens, IMAGE_TOKEN)


TRAINED = "square"  # the case whose gradients are compared
PROMPTS = {name: _prompt(vision, _LAYOUT, _PADDING, LENGTH) for name, vision in VISION.items()}

# Greedy generation. Chunks of 8 and a floor scale of 4 (see impl_cases): 17 + 14 slots cross boundaries of either.
GENERATED, NEW_TOKENS, PAD = ("square", "thirds"), 14, 0
# In each row with images one lies near the end: what is a chunk away hardly shows in the next tokens.
_CONTINUED: Layout = {
    "two tiles at the end": {9: 2},
    "padding, then an image": {12: 1},
    "padding, then text": {},
    "two images": {1: 1, 11: 1},
}
_LEFT = {"padding, then an image": slice(0, 4), "padding, then text": slice(0, 11)}
CONTINUED = {name: _prompt(VISION[name], _CONTINUED, _LEFT, length=17) for name in GENERATED}


def photograph(tiles: int) -> np.ndarray:
    """The first tiles of a real picture, (tiles, 3, 16, 16), as a golden has them from HF's image processor."""
    golden = Path(__file__).parents[2] / "golden"
    manifest = json.loads((golden / "vision" / "tiny-vision.tiles.json").read_text())
    stored = manifest["inputs"]["pixels"]
    file = golden / "objects" / stored["object"][:2] / f"{stored['object']}.safetensors"
    return load_file(file)[next(iter(load_file(file)))][:tiles].astype(float)


CONTINUED["square"] = dataclasses.replace(
    CONTINUED["square"], pixel_values=photograph(len(CONTINUED["square"].pixel_values))
)

# Below -2, 1 + erf loses so many digits in float32 that torch does not always round float16 to the nearest value.
GELU_INPUTS = np.concatenate([np.linspace(-2, 6, 4001), [-0.0, 0.0, 20.0, -20.0]])

# Values and ratio; whole squares of patches whose blocks are of 2, 3 and 1 patches a side.
SHUFFLES = {
    f"{side}x{side} by {name}": (np.random.default_rng(side).standard_normal((2, side * side, 5)), ratio)
    for side, name, ratio in ((4, "1/2", 0.5), (6, "1/2", 0.5), (6, "1/3", 1 / 3), (3, "1/3", 1 / 3), (3, "1", 1.0))
}
