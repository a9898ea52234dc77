"""Faults of the norms: RMS norm, the norm of queries and keys, the layer norm of the vision tower."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _TILES = "tiny/tiny-scout.long", "vision/tiny-vision.tiles"
_DIVIDE = "jax_llama4.norms:_divide_by_rms"
_RMS = "jax_llama4.norms:Llama4TextRMSNorm.__call__"
_L2 = "jax_llama4.norms:Llama4TextL2Norm.__call__"
_LAYER = "jax_llama4.norms:Llama4VisionLayerNorm.__call__"
_ATTENTION = "jax_llama4.attention:Llama4TextAttention"
_AT_RMS = ("layers.*.input_norm:out", "layers.*.post_norm:out", "norm:out")
_AT_QK = ("layers.*.attn.qk_norm:out*",)
_AT_LAYER = ("vision.pre_norm:out", "vision.layers.*_norm:out", "vision.post_norm:out")

GROUP = FaultGroup(
    name="norms",
    family="llama4",
    faults=(
        Fault(
            "rms-norm-eps",
            "semantic",
            (Patch(_RMS, "self.eps)", "self.eps * 0.1)"),),
            _SCOUT,
            _AT_RMS,
            doc="1e-6, the default of many a norm, where the model has 1e-5",
            hypothesis="norm eps ÷ 10",
        ),
        Fault(
            "rms-norm-eps-outside-root",
            "semantic",
            (Patch(_DIVIDE, "x * jax.lax.rsqrt(mean_square + eps)", "x / (jnp.sqrt(mean_square) + eps)"),),
            _SCOUT,
            (*_AT_RMS, *_AT_QK),
            hypothesis="eps outside the root in every norm",
        ),
        Fault(
            "rms-norm-weight-plus-one",
            "semantic",
            (Patch(_RMS, "(rounded * weight)", "(rounded * (1 + weight))"),),
            _SCOUT,
            _AT_RMS,
            doc="as Gemma stores its weights",
            hypothesis="norm gain from one",
        ),
        Fault(
            "qk-norm-sum-of-squares",
            "semantic",
            (
                Patch(
                    _L2,
                    "return _divide_by_rms(x.astype(self.numerics.norm), self.eps).astype(self.numerics.compute)",
                    "x = x.astype(self.numerics.norm)\n"
                    "    total = jnp.sum(jnp.square(x), axis=-1, keepdims=True)\n"
                    "    return (x * jax.lax.rsqrt(total + self.eps)).astype(self.numerics.compute)",
                ),
            ),
            _SCOUT,
            _AT_QK,
            doc="what the name L2 norm says, and the reference does not do",
            hypothesis="qk norm by the sum",
        ),
        Fault(
            "qk-norm-default-eps",
            "semantic",
            (Patch(f"{_ATTENTION}.__init__", "Llama4TextL2Norm(config.rms_norm_eps, ", "Llama4TextL2Norm("),),
            _SCOUT,
            _AT_QK,
            hypothesis="qk norm eps ÷ 10",
        ),
        Fault(
            "qk-norm-before-rope",
            "semantic",
            (
                Patch(
                    f"{_ATTENTION}.__call__",
                    """    if self.use_qk_norm:
        query = self.qk_norm(query)
        key = self.qk_norm(key)
""",
                    "",
                ),
                Patch(
                    f"{_ATTENTION}.__call__",
                    "    if self.use_rope:\n",
                    """    if self.use_qk_norm:
        query = self.qk_norm(query)
        key = self.qk_norm(key)
    if self.use_rope:
""",
                ),
            ),
            _SCOUT,
            ("layers.*.attn:inner.q_rope", *_AT_QK),
            doc="a rotation keeps the norm, so only the value between the two differs",
            hypothesis="qk norm before rope",
        ),
        Fault(
            "qk-norm-without-rope-too",
            "semantic",
            (Patch(f"{_ATTENTION}.__init__", "self.use_rope and config.use_qk_norm", "config.use_qk_norm"),),
            _SCOUT,
            ("layers.3.attn:inner.query",),
            hypothesis="qk norm on every layer",
        ),
        Fault(
            "layer-norm-default-eps",
            "semantic",
            (Patch(_LAYER, "+ self.eps)", "+ 1e-6)"),),
            _TILES,
            _AT_LAYER,
            doc="Flax has 1e-6, torch 1e-5",
            hypothesis="layer norm eps 1e-6",
        ),
        Fault(
            "rms-norm-rounded-once",
            "harmless",
            (Patch(_RMS, "normed.astype(self.numerics.compute).astype(self.numerics.norm)", "normed"),),
            _SCOUT,
            equivalent="one rounding where the reference has two, so never less precise",
        ),
        Fault(
            "rms-norm-mean-by-product",
            "harmless",
            (
                Patch(
                    _DIVIDE,
                    "jnp.mean(jnp.square(x), axis=-1, keepdims=True)",
                    'jnp.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]',
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "rms-norm-by-division",
            "harmless",
            (Patch(_DIVIDE, "x * jax.lax.rsqrt(mean_square + eps)", "x / jnp.sqrt(mean_square + eps)"),),
            _SCOUT,
        ),
        Fault(
            "layer-norm-fast-variance",
            "harmless",
            (
                Patch(
                    _LAYER,
                    "jnp.mean(jnp.square(centred), axis=-1, keepdims=True)",
                    "(jnp.mean(wide * wide, axis=-1, keepdims=True) - jnp.mean(wide, axis=-1, keepdims=True) ** 2)",
                ),
            ),
            _TILES,
            equivalent="it cancels where a mean is large against the deviation; here no token's is",
        ),
    ),
    doc="norms of text and vision",
)
