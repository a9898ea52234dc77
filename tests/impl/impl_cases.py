"""Tiny configurations, weights and one prompt that show every mechanism; NumPy only, read by both frameworks."""

import dataclasses
import math
import zlib

import numpy as np

# Widths are all distinct and no matrix is square, so that no swap or missing transpose can hide in a shape.
_SMALL = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 20,
    "intermediate_size_mlp": 28,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_local_experts": 5,
    "attention_chunk_size": 8,
    "floor_scale": 4,
    "attn_temperature_tuning": True,
    "pad_token_id": 0,
}
# The original length is short, so that the scaling reaches pairs which turn visibly within the prompt.
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 64,
}

CONFIGS = {
    "scout": _SMALL
    | {"rope_parameters": _LLAMA3 | {"factor": 16.0, "high_freq_factor": 1.0}, "num_experts_per_tok": 1},
    "maverick": _SMALL
    | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        "interleave_moe_layer_step": 2,
        "use_qk_norm": False,
        "num_experts_per_tok": 2,
    },
    # What no released model has: biases, a tied head, smoothed frequencies, layer types apart from rope.
    "unusual": _SMALL
    | {
        "rope_parameters": _LLAMA3 | {"factor": 8.0, "high_freq_factor": 4.0},
        "attention_bias": True,
        "tie_word_embeddings": True,
        "no_rope_layers": [0, 1, 1, 0],
        "layer_types": ["chunked_attention", "full_attention", "chunked_attention", "full_attention"],
        "moe_layers": [1],
        "num_experts_per_tok": 1,
    },
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Rows of one batch by name, all of one length."""

    rows: tuple[str, ...]
    input_ids: np.ndarray
    attention_mask: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray

    def piece(self, slots: slice) -> dict[str, np.ndarray]:
        """Arguments of a call with these columns, by name; the mask is that of the new tokens."""
        names = ("input_ids", "attention_mask", "position_ids")
        return {name: getattr(self, name)[:, slots] for name in names}


# All columns of a prompt.
WHOLE = slice(None)


def pieces(split: tuple[int, ...]) -> list[slice]:
    """The columns of each call that feeds a prompt in pieces of these lengths."""
    ends = [int(end) for end in np.cumsum(split)]
    return [slice(end - length, end) for end, length in zip(ends, split, strict=True)]


def _prompt() -> Prompt:
    rows = ("plain", "left padding", "right padding", "hole", "far positions")
    length = 3 * _SMALL["attention_chunk_size"] + 3
    rng = np.random.default_rng(7)
    ids = rng.integers(1, _SMALL["vocab_size"], (len(rows), length))
    mask = np.ones_like(ids)
    mask[1, :5] = 0
    mask[2, -6:] = 0
    mask[3, 9:12] = 0
    positions = np.tile(np.arange(length), (len(rows), 1))
    positions[1] = np.maximum(np.cumsum(mask[1]) - 1, 0)
    positions[4] += 9000
    labels = np.where(mask == 1, ids, -100)
    return Prompt(rows, ids, mask, positions, labels)


PROMPT = _prompt()


# How the prompt is fed through a cache, tokens a call. A chunk is 8: pieces end inside one, step over its end, and are
# longer than one. In few lengths, because each is compiled.
SPLITS = {
    "prefill and steps": (13,) + (1,) * 14,
    "single steps": (1,) * 27,
    "pieces": (9, 9, 9),
    "pieces and steps": (5, 13, 1, 1, 5, 1, 1),
    "steps and a continuation": (1,) * 9 + (13, 5),
}

# Sequence classification: (number of labels, problem type, labels); a type of None is left to the labels.
LABELS = {
    "regression": (1, None, np.array([0.5, -1.0, 2.0, 0.0, 1.5])),
    "single": (3, None, np.array([2, 0, -100, 1, 1])),
    "multi": (3, None, np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=float)),
    "regression of several": (3, "regression", np.linspace(-1, 1, 15).reshape(5, 3)),
}


def classified_ids() -> np.ndarray:
    """The prompt with pad ids where the mask is 0, in the text of one row, and all over another."""
    ids = np.where(PROMPT.attention_mask == 1, PROMPT.input_ids, _SMALL["pad_token_id"])
    ids[0, 6:9] = _SMALL["pad_token_id"]
    ids[4] = _SMALL["pad_token_id"]
    return ids


def draw_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Unit-gain matrices, norm gains about one and real biases: HF's own init hides most faults."""
    drawn = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        value = rng.standard_normal(shape)
        *module, kind = name.split(".")
        if kind == "weight" and "norm" in module[-1]:
            value = 1 + 0.3 * value
        elif kind == "bias":
            value = 0.3 * value
        elif "embed_tokens" not in module and kind in ("weight", "gate_up_proj", "down_proj"):
            fan_in = shape[-2] if ".experts." in name else shape[-1]
            value = value / math.sqrt(fan_in)
        drawn[name] = value
    return drawn


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those arrays whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
