"""Faults of text attention: temperature, heads, scores, softmax, values, and which layer is of which kind."""

from paritygate.catalog.faults.rounding import SCORES
from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _FAR = "tiny/tiny-scout.long", "tiny/tiny-scout.far"
_INIT = "jax_llama4.attention:Llama4TextAttention.__init__"
_CALL = "jax_llama4.attention:Llama4TextAttention.__call__"
_HEADS = "jax_llama4.attention:Llama4TextAttention._heads"
_TEMPERATURE = "jax_llama4.attention:attention_temperature"
_WEIGHTS = "jax_llama4.attention:attention_weights"
_VALUES = "jax_llama4.attention:weighted_values"
_SOFTMAX = "jax.nn.softmax(scores.astype(softmax), axis=-1)"
_AT_QUERY = ("layers.3.attn:inner.query",)
_AT_PROBS = ("layers.*.attn:inner.probs",)
_AT_OUT = ("layers.*.attn:out",)

GROUP = FaultGroup(
    name="attention",
    family="llama4",
    faults=(
        Fault(
            "temperature-off-by-one",
            "semantic",
            (Patch(_TEMPERATURE, "astype(numerics.temperature) + 1.0", "astype(numerics.temperature)"),),
            _SCOUT,
            _AT_QUERY,
            hypothesis="temperature off by one",
        ),
        Fault(
            "temperature-left-out",
            "semantic",
            (Patch(_CALL, "if self.attn_temperature_tuning:", "if False:"),),
            _SCOUT,
            _AT_QUERY,
            doc="at real sizes nothing before token 8191 shows it",
            hypothesis="temperature missing",
        ),
        Fault(
            "temperature-with-rope-too",
            "semantic",
            (Patch(_INIT, "config.attn_temperature_tuning and not self.use_rope", "config.attn_temperature_tuning"),),
            _SCOUT,
            ("layers.0.attn:inner.query",),
            hypothesis="temperature on every layer",
        ),
        Fault(
            "temperature-on-keys-too",
            "semantic",
            (
                Patch(
                    _CALL,
                    "query = self._scale_query(query, slots)",
                    "query, key = self._scale_query(query, slots), self._scale_query(key, slots)",
                ),
            ),
            _SCOUT,
            ("layers.3.attn:inner.key",),
            hypothesis="temperature on keys too",
        ),
        Fault(
            "temperature-by-rope-position",
            "semantic",
            (
                Patch(
                    "jax_llama4.text:Llama4TextModel.__call__",
                    '"query_slots": query_slots',
                    '"query_slots": position_ids',
                ),
            ),
            _FAR,
            _AT_QUERY,
            doc="the temperature follows the slot; the attention is right and is told the position",
            hypothesis="temperature by position",
        ),
        Fault(
            "scores-unscaled",
            "semantic",
            (Patch(_WEIGHTS, "(scores.astype(softmax) * scaling)", "scores.astype(softmax)"),),
            _SCOUT,
            _AT_PROBS,
            hypothesis="score scale missing",
        ),
        Fault(
            "scores-scaled-by-model-width",
            "semantic",
            (
                Patch(
                    _INIT,
                    "self.scaling = config.head_dim**-0.5",
                    "self.scaling = (config.hidden_size // config.num_attention_heads) ** -0.5",
                ),
            ),
            _SCOUT,
            _AT_PROBS,
            doc="the head width of models that give none of their own",
            hypothesis="score scale by a derived head width",
        ),
        Fault(
            "softmax-over-queries",
            "semantic",
            (Patch(_WEIGHTS, _SOFTMAX, "jax.nn.softmax(scores.astype(softmax), axis=-2)"),),
            _SCOUT,
            _AT_PROBS,
            hypothesis="softmax over queries",
        ),
        Fault(
            "kv-heads-tiled",
            "semantic",
            (
                Patch(
                    _WEIGHTS,
                    "query.reshape(batch, length, key.shape[2], -1, width)",
                    "query.reshape(batch, length, -1, key.shape[2], width)",
                ),
                Patch(_WEIGHTS, '"btkgh,bskh->bkgts"', '"btgkh,bskh->bgkts"'),
            ),
            _SCOUT,
            _AT_PROBS,
            doc="query head n reads key head n mod K, not n // G",
            hypothesis="key heads tiled",
        ),
        Fault(
            "value-heads-tiled",
            "semantic",
            (
                Patch(
                    _VALUES,
                    "weights.reshape(batch, value.shape[2], -1, length, keys)",
                    "weights.reshape(batch, -1, value.shape[2], length, keys)",
                ),
                Patch(_VALUES, '"bkgts,bskh->btkgh"', '"bgkts,bskh->btgkh"'),
            ),
            _SCOUT,
            _AT_OUT,
            hypothesis="value heads tiled",
        ),
        Fault(
            "heads-split-innermost",
            "semantic",
            (
                Patch(
                    _HEADS,
                    "x.reshape(*x.shape[:2], -1, self.head_dim)",
                    "x.reshape(*x.shape[:2], self.head_dim, -1).swapaxes(2, 3)",
                ),
            ),
            _SCOUT,
            ("layers.*.attn:inner.q_rope",),
            hypothesis="heads innermost",
        ),
        Fault(
            "no-rope-layers-inverted",
            "semantic",
            (Patch(_INIT, "bool(config.no_rope_layers[layer_idx])", "not config.no_rope_layers[layer_idx]"),),
            _SCOUT,
            ("layers.0.attn:inner.q*",),
            doc="in `no_rope_layers` a 1 means the layer uses rope",
            hypothesis="rope on the other layers",
        ),
        Fault(
            "every-layer-chunked",
            "semantic",
            (Patch(_INIT, "self.layer_type = config.layer_types[layer_idx]", "self.layer_type = CHUNKED"),),
            _SCOUT,
            ("layers.3.attn:inner.probs",),
            hypothesis="chunks on every layer",
        ),
        Fault(
            "layer-pattern-off-by-one",
            "semantic",
            (Patch("jax_llama4.config:Llama4TextConfig._fill_layers", "int((i + 1) % self", "int(i % self"),),
            _SCOUT,
            ("layers.0.attn:inner.q*",),
            doc="layers counted from 0: the first of every four is without rope, not the last",
            hypothesis="layer pattern one layer late",
        ),
        Fault(
            "temperature-by-log",
            "harmless",
            (
                Patch(
                    _TEMPERATURE,
                    "jnp.log1p(jnp.floor(count / floor_scale))",
                    "jnp.log(jnp.floor(count / floor_scale) + 1)",
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "scores-with-operands-exchanged",
            "harmless",
            (
                Patch(_WEIGHTS, '"btkgh,bskh->bkgts"', '"bskh,btkgh->bkgts"'),
                Patch(_WEIGHTS, "einsum(letters, grouped, key,", "einsum(letters, key, grouped,"),
            ),
            _SCOUT,
        ),
        Fault(
            "kv-heads-repeated",
            "harmless",
            (
                Patch(
                    _WEIGHTS,
                    f"scores = {SCORES}",
                    "repeated = jnp.repeat(key, heads // key.shape[2], axis=2)\n"
                    '    scores = jnp.einsum("btnh,bsnh->bnts", query, repeated, precision=numerics.precision)',
                ),
            ),
            _SCOUT,
            doc="as the reference writes it",
        ),
        Fault(
            "softmax-by-definition",
            "harmless",
            (
                Patch(
                    _WEIGHTS,
                    f"return {_SOFTMAX}.astype(compute)",
                    "scores = scores.astype(softmax)\n"
                    "    powers = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))\n"
                    "    return (powers / jnp.sum(powers, axis=-1, keepdims=True)).astype(compute)",
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "projections-fused",
            "harmless",
            (
                Patch(
                    _CALL,
                    'query = self._heads(self.q_proj(hidden_states), "heads")',
                    "kernels = [module.kernel[...] for module in (self.q_proj, self.k_proj, self.v_proj)]\n"
                    "    kernel = jnp.concatenate(kernels, axis=1)\n"
                    "    fused = jnp.split(\n"
                    "        jnp.matmul(hidden_states, kernel, precision=self.numerics.precision),\n"
                    "        [kernels[0].shape[1], kernels[0].shape[1] + kernels[1].shape[1]],\n"
                    "        axis=-1,\n"
                    "    )\n"
                    '    query = self._heads(fused[0], "heads")',
                ),
                Patch(_CALL, "self._heads(self.k_proj(hidden_states)", "self._heads(fused[1]"),
                Patch(_CALL, "self._heads(self.v_proj(hidden_states)", "self._heads(fused[2]"),
            ),
            _SCOUT,
        ),
    ),
    doc="attention of the text",
)
