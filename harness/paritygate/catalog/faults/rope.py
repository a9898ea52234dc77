"""Faults of rotary position: frequencies, their scaling, the table, the rotation of queries and keys."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _MAVERICK = "tiny/tiny-scout.long", "tiny/tiny-maverick.long"
_FREQUENCIES = "jax_llama4.rope:inverse_frequencies"
_STRETCH = "jax_llama4.rope:_stretch_slow_pairs"
_TABLE = "jax_llama4.rope:rotation_table"
_ROTATE = "jax_llama4.rope:apply_rotary_emb"
_ATTENTION = "jax_llama4.attention:Llama4TextAttention.__call__"
_AT_TABLE = ("rope:out",)
_AT_ROTATED = ("layers.*.attn:inner.q_rope",)

GROUP = FaultGroup(
    name="rope",
    family="llama4",
    faults=(
        Fault(
            "rope-by-halves",
            "semantic",
            (
                Patch(
                    _ROTATE,
                    """    pairs = x.astype(numerics.rope).reshape(*x.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
""",
                    "    first, second = jnp.split(x.astype(numerics.rope), 2, axis=-1)\n",
                ),
                Patch(
                    _ROTATE,
                    "rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)",
                    "rotated = jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)",
                ),
            ),
            _SCOUT,
            _AT_ROTATED,
            doc="the rotation of Llama 2 in HF, whose checkpoints are permuted for it; these are not",
            hypothesis="rope by halves",
        ),
        Fault(
            "rope-turned-backwards",
            "semantic",
            (
                Patch(
                    _ROTATE,
                    "[first * cos - second * sin, first * sin + second * cos]",
                    "[first * cos + second * sin, second * cos - first * sin]",
                ),
            ),
            _SCOUT,
            _AT_ROTATED,
            hypothesis="rope backwards",
        ),
        Fault(
            "rope-on-queries-only",
            "semantic",
            (
                Patch(
                    _ATTENTION,
                    "self.tap_k_rope(apply_rotary_emb(key, frequencies, self.numerics))",
                    "self.tap_k_rope(key)",
                ),
            ),
            _SCOUT,
            ("layers.*.attn:inner.k_rope",),
            hypothesis="rope on queries only",
        ),
        Fault(
            "rope-theta-fixed",
            "semantic",
            (Patch(_FREQUENCIES, "rope.rope_theta **", "10000.0 **"),),
            _SCOUT,
            _AT_TABLE,
            doc="the base of Llama 2 in place of the one in the configuration",
            hypothesis="rope theta 10,000",
        ),
        Fault(
            "rope-exponents-halved",
            "semantic",
            (Patch(_FREQUENCIES, "np.arange(0, head_dim, 2)", "np.arange(head_dim // 2)"),),
            _SCOUT,
            _AT_TABLE,
            hypothesis="rope frequencies by pair",
        ),
        Fault(
            "rope-positions-from-one",
            "semantic",
            (Patch(_TABLE, "position_ids.astype(", "(position_ids + 1).astype("),),
            _SCOUT,
            _AT_TABLE,
            doc="attention depends on differences of positions only, so no output of the model shows it",
            hypothesis="positions + 1",
        ),
        Fault(
            "rope-scaling-ignored",
            "semantic",
            (Patch(_FREQUENCIES, 'rope.rope_type == "llama3"', 'rope.rope_type == "yarn"'),),
            _MAVERICK,
            _AT_TABLE,
            hypothesis="rope scaling missing",
        ),
        Fault(
            "rope-scaling-band-reversed",
            "semantic",
            (
                Patch(
                    _STRETCH,
                    "(scalar(1) - weight) * inv_freq / factor + weight * inv_freq",
                    "weight * inv_freq / factor + (scalar(1) - weight) * inv_freq",
                ),
            ),
            _MAVERICK,
            _AT_TABLE,
            hypothesis="rope scaling backwards",
        ),
        Fault(
            "rope-by-complex-numbers",
            "harmless",
            (
                Patch(
                    _ROTATE,
                    "rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)",
                    "turned = (first + 1j * second) * (cos + 1j * sin)\n"
                    "    rotated = jnp.stack([turned.real, turned.imag], axis=-1)",
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "rope-table-by-complex-power",
            "harmless",
            (
                Patch(
                    _TABLE,
                    "return _cos_and_sin(angles)",
                    "turned = jnp.exp(1j * angles)\n    return jnp.stack([turned.real, turned.imag], axis=-1)",
                ),
            ),
            _SCOUT,
            doc="cos and sin as one complex power",
        ),
    ),
    doc="rotary position of the text",
)
