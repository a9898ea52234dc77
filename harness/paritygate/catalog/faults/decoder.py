"""Faults of what holds the modules together: embedding, residual stream, the order of norms, the linear layers."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _TILES = "tiny/tiny-scout.long", "vision/tiny-vision.tiles"
_LAYER = "jax_llama4.decoder:Llama4TextDecoderLayer.__call__"
_TEXT = "jax_llama4.text:Llama4TextModel"
_PRODUCT = "jax_llama4.linear:_wide_product"
_ADD_ATTENTION = "hidden_states = hidden_states + attended.attention_output"
_NORMED = "normed = self.post_attention_layernorm(hidden_states)"
_AT = ("layers.?:out",)
# Every linear layer is to blame, and these are where the first ones show.
_AT_LINEAR = (
    "layers.*.attn:inner.q_rope",
    "layers.*.attn:inner.k_rope",
    "layers.*.attn:inner.query",
    "layers.*.attn:inner.key",
    "layers.*.attn:out",
    "layers.*.moe.shared:out",
    "lm_head:out",
)

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
        ),
        Fault(
            "attention-residual-left-out",
            "semantic",
            (Patch(_LAYER, _ADD_ATTENTION, "hidden_states = attended.attention_output"),),
            _SCOUT,
            _AT,
        ),
        Fault(
            "feed-forward-residual-left-out",
            "semantic",
            (Patch(_LAYER, "shard(hidden_states + fed,", "shard(fed,"),),
            _SCOUT,
            _AT,
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
        ),
        Fault(
            "one-norm-for-both",
            "semantic",
            (Patch(_LAYER, _NORMED, "normed = self.input_layernorm(hidden_states)"),),
            _SCOUT,
            (*_AT, "layers.*.post_norm:out"),
        ),
        Fault(
            "final-norm-left-out",
            "semantic",
            (Patch(f"{_TEXT}.__call__", "last = self.norm(out.hidden_states)", "last = out.hidden_states"),),
            _SCOUT,
            ("norm:out",),
        ),
        Fault(
            "bias-left-out",
            "semantic",
            (Patch("jax_llama4.linear:Linear.__call__", "if self.bias is not None:", "if False:"),),
            _TILES,
            ("vision.layers.*.attn:inner.q_rope", "vision.layers.*.mlp:out"),
            doc="only the vision tower has biases, and they are drawn as zero",
        ),
        Fault(
            "linear-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _PRODUCT,
                    "product = jax.lax.dot_general(rows, kernel, dimension_numbers, precision=precision, "
                    "preferred_element_type=wide)",
                    "(ours,), (theirs,) = dimension_numbers[0]\n"
                    "    product = sum(\n"
                    "        jnp.expand_dims(jnp.take(rows, i, axis=ours), -1) * jnp.take(kernel, i, axis=theirs)\n"
                    "        for i in range(rows.shape[ours])\n"
                    "    ).astype(wide)",
                ),
            ),
            _SCOUT,
            _AT_LINEAR,
            sees="bf16",
        ),
        Fault(
            "linear-summed-in-rounded-blocks",
            "precision",
            (
                Patch(
                    _PRODUCT,
                    "product = jax.lax.dot_general(rows, kernel, dimension_numbers, precision=precision, "
                    "preferred_element_type=wide)",
                    "(ours,), (theirs,) = dimension_numbers[0]\n"
                    "    product = 0\n"
                    "    for at in range(0, rows.shape[ours], 8):\n"
                    "        block = (jax.lax.slice_in_dim(x, at, min(at + 8, x.shape[a]), axis=a)"
                    " for x, a in ((rows, ours), (kernel, theirs)))\n"
                    "        part = jax.lax.dot_general(*block, dimension_numbers, precision=precision,"
                    " preferred_element_type=wide)\n"
                    "        product = jax.lax.reduce_precision(product + part,"
                    " jnp.finfo(x.dtype).nexp, jnp.finfo(x.dtype).nmant)",
                ),
            ),
            _SCOUT,
            _AT_LINEAR,
            sees="bf16",
            doc="a kernel that goes over the inner axis in blocks of 8 and keeps its sum in the dtype of the result",
        ),
        Fault(
            "linear-without-wide-result",
            "harmless",
            (Patch(_PRODUCT, "preferred_element_type=wide)", "preferred_element_type=x.dtype).astype(wide)"),),
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
                Patch(_LAYER, "shard(hidden_states + fed,", "shard(hidden_states + (attended.attention_output + fed),"),
            ),
            _SCOUT,
            doc="both blocks are added to each other first",
        ),
    ),
    doc="embedding, decoder layer, linear layers",
)
