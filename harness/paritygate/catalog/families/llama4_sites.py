"""The sites of the Llama 4 text model: where HF's module and `jax_llama4` show each value."""

from paritygate.core.cell import Mode
from paritygate.core.site import Decision, Glue, Kind, Port, Site

FLOAT, INDEX, MASK = Kind.FLOAT, Kind.INDEX, Kind.MASK
HIDDEN, ROWS = "B T D", "(B T) D"
PLACED = "batch length embed"  # where `jax_llama4` says where hidden states lie

# The inputs that the decoder layer and its attention share. HF passes complex frequencies and an additive mask.
_FREQUENCIES = Port(
    "in.frequencies",
    FLOAT,
    "B T H R",
    "kwarg:position_embeddings | complex_pair",
    "frequencies",
    numerics="rope",
)
_MASK = Port("in.mask", MASK, "B T S", "kwarg:attention_mask | additive_mask", "mask_info", reference_layout="B 1 T S")
_SLOTS = Port("in.slots", INDEX, "T", "case:slots", "query_slots")
_FEED_FORWARD = "model.layers.{layer}.feed_forward"
_ROTATED = "call:apply_rotary_emb:result"
_SCORED = "call:eager_attention_forward"


def _norm(name: str, path: str) -> Site:
    return Site(
        name,
        path,
        path,
        (
            Port("in.x", FLOAT, HIDDEN, "arg:0", "x", numerics="residual"),
            Port("out", FLOAT, HIDDEN, "result", "result"),
        ),
        fed="whole",
        doc="RMS norm",
    )


def _mlp(name: str, path: str, layout: str, traits: tuple[str, ...], doc: str) -> Site:
    return Site(
        name,
        path,
        path,
        (Port("in.x", FLOAT, layout, "arg:0", "x"), Port("out", FLOAT, layout, "result", "result")),
        traits,
        covers=(f"{path}.*",),
        doc=doc,
    )


SITES = (
    Site(
        "embed",
        "model.embed_tokens",
        "model.embed_tokens",
        (
            Port("in.tokens", INDEX, "B T", "arg:0", "inputs"),
            Port("out", FLOAT, HIDDEN, "result", "result", numerics="residual"),
        ),
        doc="token embedding",
    ),
    Site(
        "masks",
        "model",
        "model.masks",
        (
            Port("in.attention_mask", MASK, "B S", "case:attention_mask", "attention_mask"),
            _SLOTS,
            Port(
                "out.full",
                MASK,
                "B T S",
                "call:create_causal_mask:result | additive_mask",
                "result:full_attention",
                reference_layout="B 1 T S",
            ),
            Port(
                "out.chunked",
                MASK,
                "B T S",
                "call:create_chunked_causal_mask:result | additive_mask",
                "result:chunked_attention",
                reference_layout="B 1 T S",
            ),
        ),
        fed="whole",
        doc="glue: causal and chunked masks from slots and padding",
    ),
    Site(
        "rope",
        "model.rotary_emb",
        "model.rotary_emb",
        (
            Port("in.position_ids", INDEX, "B T", "arg:1", "position_ids"),
            Port("out", FLOAT, "B T H R", "result | complex_pair", "result"),
        ),
        doc="glue: table of rotations (cos, sin) from positions",
    ),
    Site(
        "layers.{layer}",
        "model.layers.{layer}",
        "model.layers.{layer}",
        (
            Port("in.x", FLOAT, HIDDEN, "arg:0", "hidden_states", numerics="residual"),
            _FREQUENCIES,
            _MASK,
            _SLOTS,
            Port("out", FLOAT, HIDDEN, "result", "result:hidden_states", numerics="residual", placed=PLACED),
        ),
        doc="decoder layer: the residual adds around its modules",
    ),
    _norm("layers.{layer}.input_norm", "model.layers.{layer}.input_layernorm"),
    Site(
        "layers.{layer}.attn",
        "model.layers.{layer}.self_attn",
        "model.layers.{layer}.self_attn",
        (
            Port("in.x", FLOAT, HIDDEN, "kwarg:hidden_states", "hidden_states"),
            _FREQUENCIES,
            _MASK,
            _SLOTS,
            Port("inner.q_rope", FLOAT, "B T N H", f"{_ROTATED}:0", "tap_q_rope", traits=("rope",), fed="whole"),
            Port("inner.k_rope", FLOAT, "B S K H", f"{_ROTATED}:1", "tap_k_rope", traits=("rope",), fed="whole"),
            Port("inner.query", FLOAT, "B T N H", f"{_SCORED}:arg:1", "tap_query", reference_layout="B N T H"),
            Port("inner.key", FLOAT, "B S K H", f"{_SCORED}:arg:2", "tap_key", reference_layout="B K S H", fed="whole"),
            Port("inner.probs", FLOAT, "B N T S", f"{_SCORED}:result:1", "tap_probs", fed="whole"),
            Port("out", FLOAT, HIDDEN, "result:0", "result:attention_output", placed=PLACED),
        ),
        covers=("model.layers.{layer}.self_attn.?_proj",),
        doc="attention",
    ),
    Site(
        "layers.{layer}.attn.qk_norm",
        "model.layers.{layer}.self_attn.qk_norm",
        "model.layers.{layer}.self_attn.qk_norm",
        (Port("in.x", FLOAT, "B T G H", "arg:0", "x"), Port("out", FLOAT, "B T G H", "result", "result")),
        ("rope", "qk_norm"),
        calls=2,
        fed="whole",
        doc="L2 norm per head, of the queries (call 0) and of the keys (call 1)",
    ),
    _norm("layers.{layer}.post_norm", "model.layers.{layer}.post_attention_layernorm"),
    _mlp("layers.{layer}.mlp", _FEED_FORWARD, HIDDEN, ("dense",), "dense feed-forward"),
    Site(
        "layers.{layer}.moe",
        _FEED_FORWARD,
        _FEED_FORWARD,
        (
            Port("in.x", FLOAT, HIDDEN, "arg:0", "hidden_states"),
            Port("out", FLOAT, HIDDEN, "result:0", "result:0", reference_layout=ROWS),
        ),
        ("moe",),
        doc="mixture of experts: routed plus shared",
    ),
    Site(
        "layers.{layer}.moe.router",
        _FEED_FORWARD + ".router",
        _FEED_FORWARD + ".router",
        (
            Port("in.x", FLOAT, ROWS, "arg:0", "x"),
            Port("out.logits", FLOAT, "(B T) E", "result:1", "result:1", numerics="router_logits"),
            Port("out.choice", INDEX, "(B T) J", "result:0 | chosen", "tap_choice | sorted"),
            Port("out.scores", FLOAT, "(B T) E", "result:0", "result:0"),
        ),
        ("moe",),
        decisions=(Decision("out.choice", "out.logits"),),
        doc="router: logits, the chosen experts, their scores",
    ),
    Site(
        "layers.{layer}.moe.experts",
        _FEED_FORWARD + ".experts",
        _FEED_FORWARD + ".experts",
        (
            Port("in.x", FLOAT, "(E B T) D", "arg:0", "x"),
            Port("out", FLOAT, "(E B T) D", "result", "result"),
        ),
        ("moe",),
        fed="whole",
        covers=(_FEED_FORWARD + ".experts.*",),
        doc="routed experts, rows grouped by expert",
    ),
    _mlp(
        "layers.{layer}.moe.shared", "model.layers.{layer}.feed_forward.shared_expert", ROWS, ("moe",), "shared expert"
    ),
    _norm("norm", "model.norm"),
    Site(
        "lm_head",
        "lm_head",
        "lm_head",
        (
            Port("in.x", FLOAT, HIDDEN, "arg:0", "inputs"),
            Port("out", FLOAT, "B T V", "result", "result", role="logits", numerics="logits"),
        ),
        doc="vocabulary logits",
    ),
    Site(
        "loss",
        "",
        "",
        (Port("out", FLOAT, "", "result:loss", "result:loss"),),
        modes=(Mode.CHAINED,),
        fed="whole",
        doc="glue: next-token cross entropy",
    ),
)

GLUE = (
    Glue("text", "model", "model", ("lm_head:out",), doc="the layers one after another, each with its kind of mask"),
    Glue("model", "", "", ("lm_head:out", "loss:out"), doc="hidden states to the head, logits and labels to the loss"),
)
