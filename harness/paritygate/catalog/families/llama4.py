"""Llama 4, text: HuggingFace's `Llama4ForCausalLM` as reference, `jax_llama4` as candidate."""

from paritygate.catalog.families.llama4_mesh import TEXT_PRESET, TEXT_PROMPTS
from paritygate.catalog.families.llama4_precision import ASPECTS, EXPECTED
from paritygate.catalog.families.llama4_sites import GLUE, SITES
from paritygate.catalog.families.llama4_text_hypotheses import TEXT_HYPOTHESES
from paritygate.core.family import Branch, Dimension, Family, Mechanism, Preset, Prompt, PromptRow, Side, WeightRule
from paritygate.core.where import Block

# Every width differs from every other and no matrix is square, so that a missing transpose or a swapped axis shows.
_SCOUT = {
    "vocab_size": 264,
    "hidden_size": 40,
    "intermediate_size": 28,
    "intermediate_size_mlp": 52,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "rms_norm_eps": 1e-5,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "no_rope_layer_interval": 4,
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
_MAVERICK = _SCOUT | {
    "hidden_size": 36,
    "intermediate_size": 22,
    "intermediate_size_mlp": 46,
    "head_dim": 10,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "interleave_moe_layer_step": 2,
    "use_qk_norm": False,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
_SCOUT_LAYERS = (("rope", "qk_norm", "moe"),) * 3 + (("nope", "moe"),)
_MAVERICK_LAYERS = (("rope", "dense"), ("rope", "moe"), ("rope", "dense"), ("nope", "moe"))
_LAYER_TYPES = ["chunked_attention"] * 3 + ["full_attention"]
_FAR = 1 << 20  # a chunk, or a temperature floor, that no prompt reaches


_MECHANISMS = (
    Mechanism("chunked attention", "long", {"attention_chunk_size": _FAR}),
    Mechanism("chunk origin at the first real token", "leftpad", inputs={"attention_mask": 1}),
    Mechanism("temperature tuning", "long", {"attn_temperature_tuning": False}),
    Mechanism("temperature floor", "long", {"floor_scale": _FAR}),
    Mechanism("NoPE layers", "long", {"no_rope_layers": [1] * 4, "layer_types": _LAYER_TYPES}),
    Mechanism("rope base", "long", {"rope_parameters.rope_theta": 20000.0}),
    Mechanism("positions past 8192", "far", inputs={"position_ids": 0}),
    Mechanism("padding mask", "padded", inputs={"attention_mask": 1}),
    Mechanism("norm eps", "long", {"rms_norm_eps": 1e-6}),
    Mechanism("norm gains", "long", weights={"*norm.weight": 1.0}),
    Mechanism("routed experts", "long", weights={"*.experts.down_proj": 0.0}),
    Mechanism("shared expert", "long", weights={"*.shared_expert.down_proj.weight": 0.0}),
    Mechanism("router scores", "long", weights={"*.router.weight": 0.0}),
)
_SCOUT_MECHANISMS = (
    Mechanism("qk norm", "long", {"use_qk_norm": False}),
    Mechanism("top-1 routing", "long", {"num_experts_per_tok": 2}),
)
_MAVERICK_MECHANISMS = (
    Mechanism("rope scaling", "long", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    Mechanism("top-2 routing", "long", {"num_experts_per_tok": 1}),
    Mechanism("dense layers", "long", weights={"model.layers.?.feed_forward.down_proj.weight": 0.0}),
)


# One shape for all, so that a site compiles once per dtype: two rows of 38 tokens, five chunks, nine floors.
PROMPTS = (
    Prompt("long", (PromptRow(),) * 2, 38, doc="full rows over five chunks, past the shrunk temperature floor"),
    Prompt("leftpad", (PromptRow(pad_left=3), PromptRow(pad_left=13)), 38, seed=100, doc="left padding"),
    Prompt(
        "padded",
        (PromptRow(pad_right=7, holes=(5, 6, 21)), PromptRow(pad_left=6, pad_right=4, holes=(17,))),
        38,
        seed=200,
        doc="right padding and holes, without and with left padding",
    ),
    Prompt("far", (PromptRow(start=240), PromptRow(start=8170)), 38, seed=300, doc="positions past 256 and past 8192"),
)

# A prefill inside the second chunk, single steps over its end, a continuation over the next one, single steps again.
_PIECES = (11, 1, 1, 1, 1, 1, 1, 9, 1, 1, 1)
CACHED_PROMPTS = (
    Prompt(
        "decode",
        (PromptRow(), PromptRow(pad_left=5)),
        29,
        seed=400,
        pieces=_PIECES,
        cache="dense",
        doc="prefill and decode through a cache, one row padded on the left",
    ),
    Prompt(
        "decode-padded",
        (PromptRow(pad_right=2, holes=(4,)), PromptRow(pad_left=2, holes=(19,), start=8180)),
        29,
        seed=500,
        pieces=_PIECES,
        cache="dense",
        doc="through a cache: rows of unequal lengths, holes, positions past 8192",
    ),
)
PAGED_PROMPTS = (
    Prompt(
        "decode-paged",
        (PromptRow(), PromptRow(start=8180)),
        29,
        seed=700,
        pieces=_PIECES,
        cache="paged",
        doc="prefill and decode through pages",
    ),
)
TRAIN_PROMPTS = (
    Prompt(
        "train",
        (PromptRow(), PromptRow(pad_left=3, pad_right=4)),
        26,
        seed=600,
        backward="loss",
        doc="gradient of the loss by every weight",
    ),
)


# What HF's modules and their configs choose between. Sizes are no choice, nor is what only training sees.
BRANCHES = (
    Branch("layer", ("rope", "nope"), doc="rotary positions, or none and a temperature"),
    Branch("layer", ("moe", "dense"), doc="a mixture of experts, or one feed-forward"),
    Branch("use_qk_norm", (True, False), default=True, doc="queries and keys normed after the rotation"),
    Branch("attn_temperature_tuning", (True, False), default=True, doc="queries of NoPE layers scaled by position"),
    Branch("interleave_moe_layer_step", (1, 2), default=1, doc="which layers are a mixture of experts"),
    Branch("num_experts_per_tok", (1, 2), default=1, doc="how many experts a token is given to"),
    Branch("attention_bias", (False, True), default=False, doc="biases of the four projections of attention"),
    Branch("tie_word_embeddings", (False, True), default=False, doc="the head's weight is the embedding's"),
    Branch("rope_parameters.rope_type", ("default", "llama3"), default="default", doc="scaled frequencies"),
)


# What the letters of layouts are to the rules of a mesh; a row of the mixture of experts is a token of the batch.
AXES = {
    "B": "batch",
    "I": "batch",
    "T": "length",
    "S": "length",
    "P": "length",
    "D": "embed",
    "N": "heads",
    "K": "kv_heads",
    "F": "mlp",
    "E": "expert",
    "V": "vocab",
}
DIMENSIONS = (
    Dimension("embed", "hidden_size"),
    Dimension("heads", "num_attention_heads"),
    Dimension("kv_heads", "num_key_value_heads"),
    Dimension("mlp", "intermediate_size", "moe"),
    Dimension("mlp", "intermediate_size_mlp", "dense"),
    Dimension("expert", "num_local_experts", "moe"),
    Dimension("expert_mlp", "intermediate_size", "moe"),
    Dimension("vocab", "vocab_size"),
)


# Both sides name the parameters of the whole model alike.
_INPUTS = {
    "input_ids": "tokens",
    "attention_mask": "attention_mask",
    "position_ids": "position_ids",
    "labels": "labels",
}

FAMILY = Family(
    name="llama4",
    reference=Side(
        build="paritygate.reference.llama4:build",
        inputs=_INPUTS,
        functions=tuple(
            f"transformers.models.llama4.modeling_llama4:{name}"
            for name in (
                "apply_rotary_emb",
                "eager_attention_forward",
                "create_causal_mask",
                "create_chunked_causal_mask",
            )
        ),
        cache="paritygate.reference.llama4:cache",
    ),
    candidate=Side(
        build="paritygate.replay.llama4:build",
        inputs=_INPUTS,
        cache="paritygate.replay.llama4:cache",
        gradients="paritygate.replay.llama4:gradients",
        parameters="paritygate.replay.llama4:parameters",
        narrowed="paritygate.replay.llama4:narrowed",
        abstract="paritygate.replay.llama4_full:abstract",
        sharded="paritygate.replay.llama4:sharded",
        dispatches=("auto", "dense", "tiled", "ragged"),
    ),
    sites=SITES,
    presets=(
        Preset(
            "tiny-scout",
            _SCOUT,
            _SCOUT_LAYERS,
            seed=1,
            directions=4,
            mechanisms=(*_MECHANISMS, *_SCOUT_MECHANISMS),
            doc="every layer MoE, qk norm, NoPE every fourth layer",
        ),
        Preset(
            "tiny-maverick",
            _MAVERICK,
            _MAVERICK_LAYERS,
            seed=2,
            directions=8,
            mechanisms=(*_MECHANISMS, *_MAVERICK_MECHANISMS),
            doc="MoE every second layer, top-2, no qk norm, rope scaling",
        ),
        Preset(
            "tiny-scout-12",
            _SCOUT | {"num_hidden_layers": 12},
            _SCOUT_LAYERS * 3,
            seed=1,
            directions=4,
            doc="tiny-scout, three times as deep",
        ),
        Preset(
            "tiny-scout-ties",
            _SCOUT,
            _SCOUT_LAYERS,
            seed=1,
            near_ties="kept",
            doc="tiny-scout with a router that no weight steers, whose choices are often nearly tied",
        ),
        TEXT_PRESET,
    ),
    prompts=(*PROMPTS, *CACHED_PROMPTS, *PAGED_PROMPTS, *TRAIN_PROMPTS, *TEXT_PROMPTS),
    weights=(
        WeightRule("*norm.weight", "gain", scale=0.3),
        # A residual stream of rms 0.3, so that the norms' eps is a thousand float32 roundoffs of what they divide by.
        # A layer adds half as much, so that a token's lean towards its expert outlives all of them.
        WeightRule("model.embed_tokens.weight", "steered", scale=0.1, fan_in_axis=None, steer=2.0),
        WeightRule("*.o_proj.weight", "normal", scale=0.05),
        WeightRule("*.down_proj.weight", "normal", scale=0.05),
        WeightRule("*.experts.down_proj", "normal", scale=0.05, fan_in_axis=-2),
        WeightRule("*.experts.gate_up_proj", "normal", fan_in_axis=-2),
        WeightRule("*.router.weight", "steered", scale=0.1, steer=0.4),
        WeightRule("*", "normal"),
    ),
    suites={
        "tiny": tuple(f"{preset}.{p.name}" for preset in ("tiny-scout", "tiny-maverick") for p in PROMPTS),
        "text": tuple(
            f"{preset}.{p.name}"
            for preset in ("tiny-scout", "tiny-maverick")
            for p in (*CACHED_PROMPTS, *PAGED_PROMPTS, *TRAIN_PROMPTS)
        ),
        "depth": ("tiny-scout-12.long",),
        "ties": ("tiny-scout-ties.long",),
        "mesh": tuple(f"{TEXT_PRESET.name}.{p.name}" for p in TEXT_PROMPTS),
    },
    variants={"sdpa": "paritygate.reference.llama4:sdpa"},
    min_margin_x=16.0,
    blocks=(Block("T", "chunk", "attention_chunk_size"), Block("T", "temperature step", "floor_scale")),
    glue=GLUE,
    branches=BRANCHES,
    hypotheses=TEXT_HYPOTHESES,
    expected=EXPECTED,
    aspects=ASPECTS,
    cells={"mesh": "f64,f32,bf16 x all-meshes x cpu"},
    axes=AXES,
    dimensions=DIMENSIONS,
    auto_caches=("paged",),
    doc="Llama 4 text decoder",
)
