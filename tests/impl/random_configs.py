"""Random tiny configurations, each with a padded prompt and a way to cut it; NumPy only, read by both frameworks.

A case is a function of its seed. Weights are those of `impl_cases.draw_weights`.
"""

import dataclasses
from typing import Any

import impl_cases
import numpy as np

SEEDS = range(30)


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration, its prompt, and the tokens of each call that feeds the prompt through a cache."""

    config: dict[str, Any]
    prompt: impl_cases.Prompt
    split: tuple[int, ...]
    spare: int  # slots of the cache that stay empty


def draw(seed: int) -> Case:
    rng = np.random.default_rng([2025, seed])
    split = draw_split(rng, length=between(rng, 3, 9))
    config = text_config(rng, sum(split))
    return Case(config, _prompt(rng, sum(split), config["vocab_size"]), split, spare=between(rng, 0, 3))


def between(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high, endpoint=True))


def one_of(rng: np.random.Generator, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def draw_split(rng: np.random.Generator, length: int) -> tuple[int, ...]:
    # One length beside 1, because each is compiled. About half begin with a prefill, the others mostly with a step.
    first = [length] if chance(rng, 0.5) else []
    rest = [length] * between(rng, 1, 2) + [1] * between(rng, 3, 7)
    return (*first, *(int(piece) for piece in rng.permutation(rest)))


def text_config(rng: np.random.Generator, length: int) -> dict[str, Any]:
    layers = between(rng, 2, 4)
    kv_heads = between(rng, 1, 3)
    # Three distinct odd widths; the vocabulary and all heads together are even. So no matrix is square.
    hidden, ffn, dense_ffn = (int(width) for width in rng.choice([19, 23, 29, 31, 37, 41], 3, replace=False))
    experts = between(rng, 1, 8)
    config = {
        "vocab_size": 2 * between(rng, 10, 45),
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "intermediate_size_mlp": dense_ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": kv_heads * between(rng, 1, 3),
        "num_key_value_heads": kv_heads,
        "head_dim": 2 * between(rng, 1, 6),
        "rms_norm_eps": one_of(rng, 1e-6, 1e-5, 1e-2),
        "num_local_experts": experts,
        "num_experts_per_tok": between(rng, 1, min(experts, 3)),
        # HF's own cache keeps chunk - 1 tokens, and for a chunk of 1 by mistake all of them.
        "attention_chunk_size": length + 5 if chance(rng, 0.1) else between(rng, 2, length // 2),
        "use_qk_norm": chance(rng, 0.6),
        "attn_temperature_tuning": chance(rng, 0.7),
        "floor_scale": between(rng, 1, 6),
        "attn_scale": one_of(rng, 0.1, 0.5, 1.0),
        "attention_bias": chance(rng, 0.4),
        "tie_word_embeddings": chance(rng, 0.3),
        "rope_parameters": _rope(rng),
        "pad_token_id": None,
    }
    config |= one_of(
        rng,
        {"interleave_moe_layer_step": between(rng, 1, 3)},
        {"moe_layers": _some_layers(rng, layers)},
    )
    config |= one_of(
        rng,
        {"no_rope_layer_interval": between(rng, 1, 4)},
        {"no_rope_layers": [int(bit) for bit in rng.integers(0, 2, layers)]},
    )
    if chance(rng, 0.3):
        config["layer_types"] = [one_of(rng, "chunked_attention", "full_attention") for _ in range(layers)]
    return config


def _some_layers(rng: np.random.Generator, layers: int) -> list[int]:
    count = between(rng, 0, layers - 1)
    return sorted(int(layer) for layer in rng.choice(layers, count, replace=False))


def _rope(rng: np.random.Generator) -> dict[str, Any]:
    theta = one_of(rng, 100.0, 10000.0, 500000.0)
    if chance(rng, 0.5):
        return {"rope_type": "default", "rope_theta": theta}
    return {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": one_of(rng, 2.0, 8.0, 16.0),
        "low_freq_factor": 1.0,
        "high_freq_factor": one_of(rng, 1.0, 4.0),
        # Short, so that the scaling reaches pairs which turn visibly within the prompt.
        "original_max_position_embeddings": one_of(rng, 16, 64),
    }


def _prompt(rng: np.random.Generator, length: int, vocab: int) -> impl_cases.Prompt:
    batch = between(rng, 2, 3)
    ids = rng.integers(0, vocab, (batch, length))
    mask = np.stack([draw_mask(rng, length) for _ in range(batch)])
    positions = np.stack([draw_positions(rng, row) for row in mask])
    rows = tuple(f"row {i}" for i in range(batch))
    return impl_cases.Prompt(rows, ids, mask, positions, labels=np.where(mask == 1, ids, -100))


def draw_mask(rng: np.random.Generator, length: int) -> np.ndarray:
    left = between(rng, 1, length // 2) if chance(rng, 0.5) else 0
    right = between(rng, 1, length // 3) if chance(rng, 0.4) else 0
    mask = np.ones(length, int)
    if chance(rng, 0.5):
        mask[rng.random(length) < 0.2] = 0
    mask[:left] = 0
    mask[length - right :] = 0
    mask[[left, length - right - 1]] = 1  # so left and right are what is padded, and no row is empty
    return mask


def draw_positions(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """By slot, or by real tokens with 0 at padding as HF's `generate` has them, or those from somewhere far on."""
    counted = np.maximum(np.cumsum(mask) - 1, 0)
    return one_of(rng, np.arange(len(mask)), counted, counted + between(rng, 100, 9000))


def padding(prompt: impl_cases.Prompt, where: str) -> bool:
    """Whether a row has padding there: left, right, or between real tokens."""
    mask = prompt.attention_mask
    if where == "left":
        return not mask[:, 0].all()
    if where == "right":
        return not mask[:, -1].all()
    return any(np.ptp(np.flatnonzero(row)) + 1 > row.sum() for row in mask)
