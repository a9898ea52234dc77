"""Presets and prompts of the suite `mesh`: few programs, and every axis of a size that up to eight devices divide."""

from paritygate.core.family import Picture, Preset, Prompt, PromptRow

# Widths are multiples of 8, yet all differ and no matrix is square. Eight rows, heads and experts, so that up to eight
# devices can each have one; but four heads of keys, which eight devices cannot split.
TEXT_CONFIG = {
    "vocab_size": 264,
    "hidden_size": 24,
    "intermediate_size": 16,
    "intermediate_size_mlp": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 10,
    "rms_norm_eps": 1e-5,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "moe_layers": [0],
    "no_rope_layers": [1, 0],
    "attention_chunk_size": 8,
    "use_qk_norm": True,
    "attn_temperature_tuning": True,
    "floor_scale": 4,
    "attn_scale": 0.1,
    "max_position_embeddings": 16384,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "use_cache": False,
    "pad_token_id": 0,
}
# The text as above, so that what it has in common with it is compiled once, but eight heads of keys: eight devices can
# split those, and not the 36 channels of a patch.
PICTURES_CONFIG = {
    "boi_token_index": 256,
    "eoi_token_index": 257,
    "image_token_index": 258,
    "vision_config": {
        "hidden_size": 36,
        "intermediate_size": 144,
        "num_hidden_layers": 1,
        "num_attention_heads": 8,
        "image_size": 8,
        "patch_size": 2,
        "num_channels": 3,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 48,
        "projector_output_dim": 48,
        "vision_output_dim": 48,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "text_config": TEXT_CONFIG
    | {"num_hidden_layers": 1, "num_key_value_heads": 8, "moe_layers": [], "no_rope_layers": [1]},
}

TEXT_PRESET = Preset(
    "mesh-text",
    TEXT_CONFIG,
    (("rope", "qk_norm", "moe"), ("nope", "dense")),
    seed=5,
    directions=8,
    doc="each kind of module once: chunked layer with rope and experts, full layer with temperature and dense",
)
PICTURES_PRESET = Preset(
    "mesh-pictures",
    PICTURES_CONFIG,
    (("rope", "qk_norm", "dense"),),
    seed=6,
    stacks={"vision_layer": ((),)},
    doc="a vision layer of 17 patches, the projector, the merge and one dense text layer",
)

_LENGTH = 16
_ROWS = (
    PromptRow(),
    PromptRow(pad_left=3),
    PromptRow(pad_right=5),
    PromptRow(holes=(4, 9)),
    PromptRow(pad_left=2, pad_right=3, holes=(7,)),
    PromptRow(start=250),
    PromptRow(start=8188),
    PromptRow(pad_left=6),
)
# A prefill into the second chunk, of a length that no number of devices divides; a single step, which begins a chunk of
# the row with three padding tokens; a continuation.
_PIECES = (11, 1, 4)
TEXT_PROMPTS = (
    Prompt(
        "batch",
        _ROWS,
        _LENGTH,
        seed=800,
        backward="loss",
        doc="eight rows, padded on both sides and with holes; the gradient of the loss by every weight",
    ),
    Prompt(
        "batch-decode",
        _ROWS,
        _LENGTH,
        seed=900,
        pieces=_PIECES,
        cache="dense",
        doc="eight rows through a cache in three pieces",
    ),
    Prompt(
        "batch-paged",
        (PromptRow(),) * 5 + (PromptRow(start=250), PromptRow(start=8188), PromptRow()),
        _LENGTH,
        seed=1000,
        pieces=_PIECES,
        cache="paged",
        doc="eight rows through pages in three pieces",
    ),
)


def _with(*pictures: Picture, pad_left: int = 0, pad_right: int = 0) -> PromptRow:
    return PromptRow(pad_left, pad_right, pictures=pictures)


# A picture of one tile stands for seven tokens.
PICTURES_PROMPT = Prompt(
    "batch",
    (
        _with(Picture("chelsea", 3)),
        _with(Picture("coffee", 1), Picture("rocket", 2)),
        _with(),
        _with(Picture("astronaut", 4), pad_left=3),
        _with(Picture("coffee", 5), pad_right=2),
        _with(Picture("rocket", 0)),
        _with(Picture("chelsea", 7)),
        _with(Picture("astronaut", 2), pad_left=2, pad_right=1),
    ),
    _LENGTH,
    seed=800,
    backward="loss",
    doc="eight tiles in seven of eight rows; the gradient of the loss by every weight",
)
