"""What is timed: configurations, prompt, tiles and repeats. Read by the parent and by both frameworks' children."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Size:
    """A text and a vision configuration under HF's names, and how much of them is run."""

    config: dict[str, Any]
    vision_config: dict[str, Any]
    prompt_tokens: int
    decode_tokens: int  # a repeat
    tiles: int  # of one image, all in one call
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


def _tower(width: int, heads: int, layers: int, image_size: int, features: int) -> dict[str, Any]:
    """Patches of 14 pixels and four of them a token, as published; a feed-forward as wide as four patches."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": image_size,
        "patch_size": 14,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": features,
        "projector_output_dim": features,
        "vision_output_dim": features,
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
        # A quarter of the published width, tiles and heads as published: four tiles of an image and the whole of it.
        _tower(width=352, heads=4, layers=4, image_size=336, features=1024),
        prompt_tokens=512,
        decode_tokens=16,
        tiles=5,
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
        _tower(width=16, heads=2, layers=4, image_size=56, features=24),
        prompt_tokens=20,
        decode_tokens=2,
        tiles=2,
        repeats=2,
    ),
}
