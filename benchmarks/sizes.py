"""What is timed: configurations, prompt and repeats. Read by the parent and by the children of both frameworks."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Size:
    """One configuration under HF's names, and how much of it is run."""

    config: dict[str, Any]
    prompt_tokens: int
    decode_tokens: int  # a repeat
    repeats: int

    @property
    def cache_slots(self) -> int:
        """Room for the prompt and for what the warm-up and every repeat decode."""
        return self.prompt_tokens + self.decode_tokens * (self.repeats + 1)


_BASE = {
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "pad_token_id": 0,
}

SIZES = {
    # 198 million parameters, of which a token meets 57 million. Prompts reach past one chunk.
    "200M": Size(
        _BASE
        | {
            "vocab_size": 32768,
            "hidden_size": 512,
            "intermediate_size": 1024,
            "intermediate_size_mlp": 2048,
            "num_hidden_layers": 6,
            "head_dim": 64,
            "attention_chunk_size": 256,
        },
        prompt_tokens=512,
        decode_tokens=16,
        repeats=7,
    ),
    "quick": Size(
        _BASE
        | {
            "vocab_size": 128,
            "hidden_size": 32,
            "intermediate_size": 48,
            "intermediate_size_mlp": 64,
            "num_hidden_layers": 4,
            "head_dim": 8,
            "attention_chunk_size": 8,
        },
        prompt_tokens=20,
        decode_tokens=2,
        repeats=2,
    ),
}
