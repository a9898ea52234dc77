"""Known ways to get Llama 4's attention wrong: what the reference would have to be for a candidate made so."""

from typing import Any

from paritygate.core.hypothesis import Hypothesis

HF = "transformers.models.llama4.modeling_llama4:"
_OURS = "paritygate.reference.llama4_attention_hypotheses:"
_ATTENTION = ("layers.*.attn",)
_SCALED: dict[str, Any] = {"rope_parameters.rope_type": "llama3"}
_TUNED: dict[str, Any] = {"attn_temperature_tuning": True}
_NORMED: dict[str, Any] = {"use_qk_norm": True}


def rows(of: str, sites: tuple[str, ...], *named: tuple[str, str, str], **change: Any) -> tuple[Hypothesis, ...]:
    """A row for each (name, what it says, what is called in the place of the function `of`)."""
    return tuple(Hypothesis(name, says, sites, functions={of: by}, **change) for name, says, by in named)


_ROTATION = rows(
    HF + "apply_rotary_emb",
    _ATTENTION,
    ("rope by halves", "rotates the two halves of a head, not its pairs", _OURS + "rope_by_halves"),
    ("rope written by halves", "rotates pairs and lays them out as halves", _OURS + "rope_written_by_halves"),
    ("rope backwards", "rotates the other way round", _OURS + "rope_backwards"),
    ("rope parts swapped", "takes the sine for the cosine", _OURS + "rope_parts_swapped"),
    ("rope missing", "rotates nothing", _OURS + "rope_missing"),
    ("rope on queries only", "rotates queries and not keys", _OURS + "rope_on_queries_only"),
    ("rope on keys only", "rotates keys and not queries", _OURS + "rope_on_keys_only"),
)

_TABLE = (
    *(
        Hypothesis(
            f"rope theta {words}",
            f"has a rope base {words}",
            ("rope",),
            scaled={"rope_parameters.rope_theta": by},
        )
        for words, by in (("× 2", 2.0), ("÷ 2", 0.5), ("× 10", 10.0), ("÷ 10", 0.1))
    ),
    *(
        Hypothesis(
            f"rope theta {theta:,}",
            f"has a rope base of {theta:,}",
            ("rope",),
            config={"rope_parameters.rope_theta": float(theta)},
        )
        for theta in (10_000, 500_000)
    ),
    Hypothesis(
        "rope scaling missing",
        "leaves the frequencies unscaled",
        ("rope",),
        needs=_SCALED,
        config={"rope_parameters.rope_type": "default"},
    ),
    *(
        Hypothesis(
            f"rope {key} {words}",
            f"scales the frequencies with a {key} {words}",
            ("rope",),
            needs=_SCALED,
            scaled={f"rope_parameters.{key}": by},
        )
        for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        for words, by in (("× 2", 2), ("× 4", 4))
    ),
    *rows(
        HF + "Llama4TextRotaryEmbedding.forward",
        ("rope",),
        ("rope frequencies by pair", "has the exponent of pair i at -i/H, not at -2i/H", _OURS + "frequencies_by_pair"),
        (
            "positions within a piece",
            "counts positions from 0 in each piece that it is fed",
            _OURS + "positions_within_a_piece",
        ),
    ),
    *rows(
        HF + "Llama4TextRotaryEmbedding.forward",
        ("rope",),
        (
            "rope scaling backwards",
            "goes from scaled frequencies to plain ones backwards",
            _OURS + "frequencies_smoothed_backwards",
        ),
        needs=_SCALED,
    ),
    *rows(
        HF + "Llama4TextModel.forward",
        ("rope",),
        ("positions by slot", "rotates by slots, padding included, not by positions", _OURS + "positions_by_slot"),
    ),
    Hypothesis("positions + 1", "counts positions one too many", ("rope",), inputs={"position_ids": 1}),
    Hypothesis("positions − 1", "counts positions one too few", ("rope",), inputs={"position_ids": -1}),
)

_LAYERS = (
    *rows(
        HF + "Llama4TextAttention.__init__",
        _ATTENTION,
        ("rope on every layer", "rotates in NoPE layers too", _OURS + "rope_on_every_layer"),
        ("rope on no layer", "treats every layer as a NoPE layer", _OURS + "rope_on_no_layer"),
        ("rope on the other layers", "takes NoPE layers for rope layers", _OURS + "rope_on_the_other_layers"),
        ("rope one layer late", "has its NoPE layers one layer late", _OURS + "rope_one_layer_late"),
        ("rope one layer early", "has its NoPE layers one layer early", _OURS + "rope_one_layer_early"),
    ),
    *rows(
        HF + "Llama4TextModel.__init__",
        ("layers.*",),
        ("chunks on the other layers", "chunks full layers, not chunked ones", _OURS + "chunks_on_the_other_layers"),
        ("chunks on every layer", "chunks every layer", _OURS + "chunks_on_every_layer"),
        ("chunks on no layer", "takes every layer for a full one", _OURS + "chunks_on_no_layer"),
    ),
    *(
        Hypothesis(
            f"layer pattern one layer {words}",
            f"has its NoPE layers, which are its full ones, one layer {words}",
            ("layers.*",),
            functions={
                HF + "Llama4TextAttention.__init__": f"{_OURS}rope_one_layer_{words}",
                HF + "Llama4TextModel.__init__": f"{_OURS}chunks_one_layer_{words}",
            },
        )
        for words in ("late", "early")
    ),
)

_HEADS = (
    *rows(
        HF + "Llama4TextAttention.forward",
        ("layers.*.attn", "layers.*.qk_norm"),
        ("qk norm before rope", "norms queries and keys before it rotates them", _OURS + "qk_norm_before_rope"),
        ("qk norm of queries only", "norms queries and not keys", _OURS + "qk_norm_of_queries"),
        ("qk norm of keys only", "norms keys and not queries", _OURS + "qk_norm_of_keys"),
        needs=_NORMED,
    ),
    *rows(
        HF + "Llama4TextAttention.__init__",
        _ATTENTION,
        ("qk norm on every layer", "norms queries and keys in NoPE layers too", _OURS + "qk_norm_on_every_layer"),
        needs=_NORMED,
    ),
    *rows(
        HF + "eager_attention_forward",
        _ATTENTION,
        ("score scale missing", "does not scale the scores", _OURS + "scale_missing"),
        (
            "score scale by model width",
            "scales scores by the model's width, not a head's",
            _OURS + "scale_by_model_width",
        ),
        ("score scale without root", "divides scores by a head's width, not its root", _OURS + "scale_without_root"),
        (
            "score scale by a derived head width",
            "scales scores by the model's width over its heads, not by the head width of its own",
            _OURS + "scale_by_derived_width",
        ),
        ("key heads tiled", "tiles key heads, where each has to be repeated", _OURS + "keys_tiled"),
        ("value heads tiled", "tiles value heads, where each has to be repeated", _OURS + "values_tiled"),
        ("softmax over queries", "takes the softmax over queries, not over keys", _OURS + "softmax_over_queries"),
        ("heads and width exchanged", "joins the heads' results heads innermost", _OURS + "heads_and_width_exchanged"),
    ),
    *rows(
        HF + "Llama4TextAttention.forward",
        _ATTENTION,
        ("heads innermost", "splits queries, keys and values with the heads innermost", _OURS + "heads_innermost"),
        ("queries permuted for halves", "has queries laid out to rotate halves", _OURS + "queries_permuted"),
        (
            "queries and keys permuted for halves",
            "has queries and keys laid out to rotate halves, and rotates pairs",
            _OURS + "queries_and_keys_permuted",
        ),
    ),
    *rows(
        HF + "repeat_kv",
        _ATTENTION,
        ("kv heads tiled", "tiles key and value heads, where each has to be repeated", _OURS + "kv_heads_tiled"),
    ),
    Hypothesis(
        "keys and values exchanged",
        "has the weights of keys and values in each other's place",
        _ATTENTION,
        exchanged=(("model.layers.*.weight", ".k_proj.", ".v_proj."),),
    ),
    *(
        Hypothesis(
            f"{name} projection reshaped",
            f"reshapes the {name} projection where it has to transpose it",
            _ATTENTION,
            weights={f"model.layers.*.self_attn.{name}_proj.weight": "reshape"},
        )
        for name in "qkvo"
    ),
)

_TEMPERATURE = (
    Hypothesis(
        "temperature missing",
        "does not scale the queries of NoPE layers",
        _ATTENTION,
        needs=_TUNED,
        config={"attn_temperature_tuning": False},
    ),
    *(
        Hypothesis(f"temperature {words}", f"has a temperature {words}", _ATTENTION, needs=_TUNED, scaled={key: by})
        for words, key, by in (
            ("floor × 2", "floor_scale", 2),
            ("scale × 10", "attn_scale", 10.0),
            ("scale ÷ 10", "attn_scale", 0.1),
        )
    ),
    Hypothesis(
        "temperature floor + 1", "has a temperature floor + 1", _ATTENTION, needs=_TUNED, shifted={"floor_scale": 1}
    ),
    *rows(
        HF + "Llama4TextAttention.forward",
        _ATTENTION,
        ("temperature off by one", "counts the temperature's slots from 0, not from 1", _OURS + "temperature_from_0"),
        ("temperature from 2", "counts the temperature's slots from 2, not from 1", _OURS + "temperature_from_2"),
        ("temperature without floor", "does not round the quotient down", _OURS + "temperature_without_floor"),
        ("temperature by plain log", "takes log for log1p in the temperature", _OURS + "temperature_by_plain_log"),
        ("temperature without one", "does not add one to the temperature", _OURS + "temperature_without_one"),
        ("temperature on every layer", "scales queries of rope layers too", _OURS + "temperature_on_every_layer"),
        ("temperature on rope layers", "scales queries of rope layers only", _OURS + "temperature_on_rope_layers"),
        (
            "temperature within a piece",
            "counts the temperature's slots from each piece's start",
            _OURS + "temperature_within_a_piece",
        ),
        ("temperature on keys", "scales the keys, not the queries", _OURS + "temperature_on_keys"),
        ("temperature on keys too", "scales keys as well as queries", _OURS + "temperature_on_keys_too"),
        needs=_TUNED,
    ),
    Hypothesis(
        "temperature by position",
        "takes the temperature of a token's position, not of its slot",
        _ATTENTION,
        needs=_TUNED,
        functions={
            HF + "Llama4TextAttention.forward": _OURS + "temperature_by_position",
            HF + "Llama4TextDecoderLayer.forward": _OURS + "with_positions",
        },
    ),
)

ATTENTION_HYPOTHESES = (*_ROTATION, *_TABLE, *_LAYERS, *_HEADS, *_TEMPERATURE)
