"""The sizes that models are published in: configurations alone, for what needs no weights. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """A published size of a family; `experts` is how many a layer has.

    `passes` are what the suite `full` has of it, `prefill-16x2048` being a batch of 16 rows of 2,048 tokens, compiled
    for targets of these `platforms`.
    """

    name: str
    family: str
    config: Mapping[str, Any]
    experts: int
    passes: tuple[str, ...]
    doc: str
    platforms: tuple[str, ...] = ("tpu", "gpu")


# HF's published config.json of each, the text half; what it leaves out is at HF's default.
_SCOUT: Mapping[str, Any] = {
    "vocab_size": 202048,
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "no_rope_layer_interval": 4,
    "attention_chunk_size": 8192,
    "use_qk_norm": True,
    "max_position_embeddings": 10485760,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 16.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
    },
}
_MAVERICK = {
    **_SCOUT,
    "num_local_experts": 128,
    "interleave_moe_layer_step": 2,
    "use_qk_norm": False,
    "max_position_embeddings": 1048576,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
# The rehearsal keeps everything that decides the program's shape, every axis divides by 8, and the experts of a layer
# are large enough to be missed where every device holds them whole.
_REHEARSAL = {
    **_SCOUT,
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 512,
    "intermediate_size_mlp": 64,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "head_dim": 16,
    "num_local_experts": 8,
    "attention_chunk_size": 16,
    "max_position_embeddings": 1024,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}

SIZES: Mapping[str, Size] = {
    size.name: size
    for size in (
        Size(
            "scout", "llama4", _SCOUT, 16,
            ("prefill-1x2048", "prefill-16x2048", "decode-128x8192", "train-16x2048"),
            "Llama-4-Scout-17B-16E, the text model: 108 billion parameters",
        ),
        Size(
            "maverick", "llama4", _MAVERICK, 128, ("prefill-32x2048",),
            "Llama-4-Maverick-17B-128E, the text model: 401 billion parameters",
        ),
        Size(
            "rehearsal", "llama4", _REHEARSAL, 8, ("prefill-4x32", "decode-8x32", "train-4x32"),
            "Scout's program with eight small layers, for --target cpu:8", ("cpu",),
        ),
    )
}  # fmt: skip
