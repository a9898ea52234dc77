"""Faults of what holds the modules together: embedding, residual stream, the order of norms, the linear layers."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _TILES = "tiny/tiny-scout.long", "vision/tiny-vision.tiles"
_LAYER = "jax_llama4.decoder:Llama4TextDecoderLayer.__call__"
_TEXT = "jax_llama4.text:Llama4TextModel"
_PRODUCT = "jax_llama4.linear:_wide_product"
_ADD_ATTENTION = "hidden_states = hidden_states + attended.attention_output.astype(residual)"
_NORMED = "normed = self.post_attention_layernorm(hidden_states)"
_AT = ("layers.?:out",)

GROUP = FaultGroup(
    name="decoder",
    family="llama4",
    faults=(
        Fault(
            "embedding-scaled",
            "semantic",
            (
                Patch(
                    f"{_TEXT}.embed",
                    "return self.embed_tokens(input_ids)",
                    "return self.embed_tokens(input_ids) * self.config.hidden_size**0.5",
                ),
            ),
            _SCOUT,
            ("layers.0.input_norm:out", "layers.0:out"),
            doc="as in Gemma; no site holds the code between the embedding and the first layer",
            hypothesis="stream scaled",
        ),
        Fault(
            "attention-residual-left-out",
            "semantic",
            (Patch(_LAYER, _ADD_ATTENTION, "hidden_states = attended.attention_output"),),
            _SCOUT,
            _AT,
            hypothesis="attention residual missing",
        ),
        Fault(
            "feed-forward-residual-left-out",
            "semantic",
            (Patch(_LAYER, "shard(hidden_states + fed.astype(residual),", "shard(fed.astype(residual),"),),
            _SCOUT,
            _AT,
            hypothesis="feed-forward residual missing",
        ),
        Fault(
            "attention-and-feed-forward-in-parallel",
            "semantic",
            (
                Patch(
                    _LAYER,
                    f"    {_ADD_ATTENTION}\n    {_NORMED}\n",
                    f"    {_NORMED}\n    {_ADD_ATTENTION}\n",
                ),
            ),
            _SCOUT,
            _AT,
            doc="the feed-forward block does not see what the attention gave",
            hypothesis="feed-forward beside attention",
        ),
        Fault(
            "one-norm-for-both",
            "semantic",
            (Patch(_LAYER, _NORMED, "normed = self.input_layernorm(hidden_states)"),),
            _SCOUT,
            (*_AT, "layers.*.post_norm:out"),
            hypothesis="one norm for both",
        ),
        Fault(
            "final-norm-left-out",
            "semantic",
            (Patch(f"{_TEXT}.__call__", "last = self.norm(out.hidden_states)", "last = out.hidden_states"),),
            _SCOUT,
            ("norm:out",),
            hypothesis="final norm missing",
        ),
        Fault(
            "bias-left-out",
            "semantic",
            (Patch("jax_llama4.linear:Linear.__call__", "if self.bias is not None:", "if False:"),),
            _TILES,
            ("vision.layers.*.attn:inner.q_rope", "vision.layers.*.mlp:out"),
            doc="only the vision tower has biases, and they are drawn as zero",
            hypothesis="vision biases missing",
        ),
        Fault(
            "linear-without-wide-result",
            "harmless",
            (
                Patch(
                    _PRODUCT,
                    "preferred_element_type=wide, out_sharding=split\n    )",
                    "preferred_element_type=x.dtype, out_sharding=split\n    ).astype(wide)",
                ),
            ),
            _SCOUT,
            equivalent="XLA sums a product of 16-bit operands in 32 bits on a CPU, whatever it is asked to give",
        ),
        Fault(
            "linear-transposed",
            "harmless",
            (
                Patch(
                    "jax_llama4.linear:Linear.__call__",
                    "_wide_product(inputs.astype(compute), kernel, over_last, self.numerics.precision)",
                    "_wide_product(inputs.astype(compute), kernel.T,"
                    " (((inputs.ndim - 1,), (1,)), ((), ())), self.numerics.precision)",
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "residual-added-last",
            "harmless",
            (
                Patch(_LAYER, f"    {_ADD_ATTENTION}\n", ""),
                Patch(
                    _LAYER, _NORMED, "normed = self.post_attention_layernorm(hidden_states + attended.attention_output)"
                ),
                Patch(_LAYER, "shard(hidden_states + fed", "shard(hidden_states + (attended.attention_output + fed)"),
            ),
            _SCOUT,
            doc="both blocks are added to each other first",
        ),
    ),
    doc="embedding, decoder layer, linear layers",
)
