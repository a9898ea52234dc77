"""Faults of precision: what the reference computes in 32 bits, computed in 16."""

from paritygate.catalog.faults.rounding import first, narrow
from paritygate.core.fault import Fault, FaultGroup, Patch

_LONG = "tiny/tiny-scout.long"
_FAR = "tiny/tiny-scout.far"
_TILES = "vision/tiny-vision.tiles"
_MODULE = "jax_llama4."
_LAYER = _MODULE + "decoder:Llama4TextDecoderLayer.__call__"
_RMS = _MODULE + "norms:Llama4TextRMSNorm.__call__"
_L2 = _MODULE + "norms:Llama4TextL2Norm.__call__"
_LAYER_NORM = _MODULE + "norms:Llama4VisionLayerNorm.__call__"
_TABLE = _MODULE + "rope:rotation_table"
_WEIGHTS = _MODULE + "attention:attention_weights"
_ROUTER = _MODULE + "moe:Llama4Router.__call__"
_RMS_DIVIDED = "_divide_by_rms(x.astype(self.numerics.norm), self.eps)"
_SOFTMAX = "jax.nn.softmax(scores.astype(softmax), axis=-1)"
_AT_RMS = ("layers.*.input_norm:out", "layers.*.post_norm:out", "norm:out")
_AT_QK = ("layers.*.attn.qk_norm:out*",)
_AT_LAYER_NORM = ("vision.pre_norm:out", "vision.layers.*_norm:out", "vision.post_norm:out")
_AT_TABLE = ("rope:out",)
_AT_PROBS = ("layers.*.attn:inner.probs",)

GROUP = FaultGroup(
    name="islands",
    family="llama4",
    faults=(
        Fault(
            "rms-norm-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    f"normed = {_RMS_DIVIDED}",
                    f"{narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.norm)\n"
                    "    mean = narrow(jnp.mean(narrow(jnp.square(x)), axis=-1, keepdims=True))\n"
                    "    normed = narrow(x * narrow(jax.lax.rsqrt(narrow(mean + self.eps))))",
                ),
            ),
            _LONG,
            _AT_RMS,
            sees="bf16",
        ),
        Fault(
            "rms-norm-factor-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    f"normed = {_RMS_DIVIDED}",
                    f"{narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.norm)\n"
                    "    mean = jnp.mean(jnp.square(x), axis=-1, keepdims=True)\n"
                    "    normed = x * narrow(jax.lax.rsqrt(mean + self.eps))",
                ),
            ),
            _LONG,
            _AT_RMS,
            sees="bf16",
            doc="statistics in 32 bits, the product with their root in 16",
        ),
        Fault(
            "qk-norm-in-16-bits",
            "precision",
            (
                Patch(
                    _L2,
                    f"return {_RMS_DIVIDED}",
                    f"{narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.norm)\n"
                    "    mean = narrow(jnp.mean(narrow(jnp.square(x)), axis=-1, keepdims=True))\n"
                    "    return (x * narrow(jax.lax.rsqrt(narrow(mean + self.eps))))",
                ),
            ),
            _LONG,
            _AT_QK,
            sees="bf16",
        ),
        Fault(
            "layer-norm-in-16-bits",
            "precision",
            (
                first(_LAYER_NORM, "wide = x.astype(norm)", "compute"),
                Patch(
                    _LAYER_NORM,
                    "centred = wide - jnp.mean(wide, axis=-1, keepdims=True)",
                    "centred = narrow(wide - narrow(jnp.mean(wide, axis=-1, keepdims=True)))",
                ),
                Patch(
                    _LAYER_NORM,
                    "jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + self.eps)",
                    "narrow(jax.lax.rsqrt(narrow(jnp.mean(jnp.square(centred), axis=-1, keepdims=True)) + self.eps))",
                ),
            ),
            _TILES,
            _AT_LAYER_NORM,
            sees="bf16",
        ),
        Fault(
            "layer-norm-rounded-before-weight",
            "precision",
            (
                first(_LAYER_NORM, "wide = x.astype(norm)", "compute"),
                Patch(_LAYER_NORM, "(normed * weight + bias)", "(narrow(narrow(normed) * weight) + bias)"),
            ),
            _TILES,
            _AT_LAYER_NORM,
            sees="bf16",
            doc="three roundings, as the RMS norm has two, where torch's layer norm has one",
        ),
        Fault(
            "rope-positions-in-16-bits",
            "precision",
            (
                Patch(
                    _TABLE,
                    "angles = position_ids.astype(numerics.rope)[..., None]",
                    "import jax\n"
                    f"    {narrow('numerics.compute')}\n"
                    "    angles = narrow(position_ids.astype(numerics.rope))[..., None]",
                ),
            ),
            _FAR,
            _AT_TABLE,
            sees="f16",
            doc="f16 has no odd number past 2048, bf16 none past 256",
        ),
        Fault(
            "rope-frequencies-in-16-bits",
            "precision",
            (
                Patch(
                    _TABLE,
                    "jnp.asarray(inv_freq)",
                    "jnp.asarray(inv_freq.astype(numerics.compute).astype(numerics.rope))",
                ),
            ),
            _LONG,
            _AT_TABLE,
            sees="f16",
            doc="what `model.to(bfloat16)` does to the buffer",
        ),
        Fault(
            "rope-table-in-16-bits",
            "precision",
            (
                Patch(
                    _TABLE,
                    "return _cos_and_sin(angles)",
                    f"import jax\n    {narrow('numerics.compute')}\n    return narrow(_cos_and_sin(angles))",
                ),
            ),
            _LONG,
            _AT_TABLE,
            sees="f16",
        ),
        Fault(
            "rope-rotation-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "rope:apply_rotary_emb",
                    "rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)",
                    f"import jax\n    {narrow('numerics.compute')}\n"
                    "    cos, sin = narrow(cos), narrow(sin)\n"
                    "    a, b, c, d = map(narrow, (first * cos, second * sin, first * sin, second * cos))\n"
                    "    rotated = jnp.stack([a - b, c + d], axis=-1)",
                ),
            ),
            _LONG,
            ("layers.*.attn:inner.[qk]_rope",),
            sees="bf16",
        ),
        Fault(
            "patch-angles-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "rope:Llama4VisionRotaryEmbedding.__call__",
                    "patch_angles(self.config, self.numerics.rope)",
                    "patch_angles(self.config, self.numerics.rope)"
                    ".astype(self.numerics.compute).astype(self.numerics.rope)",
                ),
            ),
            _TILES,
            ("vision.rope:out",),
            sees="f16",
        ),
        Fault(
            "softmax-in-16-bits",
            "precision",
            (
                Patch(
                    _WEIGHTS,
                    f"return {_SOFTMAX}",
                    f"{narrow('compute')}\n"
                    "    scores = scores.astype(softmax)\n"
                    "    powers = narrow(jnp.exp(narrow(scores - jnp.max(scores, axis=-1, keepdims=True))))\n"
                    "    return (powers / narrow(jnp.sum(powers, axis=-1, keepdims=True)))",
                ),
            ),
            _LONG,
            _AT_PROBS,
            sees="bf16",
        ),
        Fault(
            "scores-scaled-in-16-bits",
            "precision",
            (Patch(_WEIGHTS, "(scores.astype(softmax) * scaling)", "(scores.astype(compute) * scaling)"),),
            _LONG,
            _AT_PROBS,
            sees="f16",
            doc="the factor itself is rounded, so all scores are off by the same part, less than a roundoff of bf16",
        ),
        Fault(
            "temperature-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "attention:Llama4TextAttention._scale_query",
                    "scaled = query.astype(self.numerics.temperature) * factor[..., None, None]",
                    f"{narrow('self.numerics.compute')}\n"
                    "    scaled = query.astype(self.numerics.temperature) * narrow(factor)[..., None, None]",
                ),
            ),
            _LONG,
            ("layers.3.attn:inner.query",),
            sees="bf16",
        ),
        Fault(
            "silu-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "mlp:SiLUActivation.__call__",
                    "return jax.nn.silu(x.astype(self.numerics.activation))",
                    "import jax.numpy as jnp\n"
                    f"    {narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.activation)\n"
                    "    return (x * narrow(1 / narrow(1 + narrow(jnp.exp(-x)))))",
                ),
            ),
            _LONG,
            ("layers.*.moe.shared:out", "layers.*.moe.experts:out"),
            sees="bf16",
        ),
        Fault(
            "gelu-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "mlp:GELUActivation.__call__",
                    "return jax.nn.gelu(x.astype(self.numerics.activation), approximate=False)",
                    "import jax.numpy as jnp\n"
                    f"    {narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.activation)\n"
                    "    return (narrow(0.5 * x) * narrow(1 + narrow(jax.lax.erf(narrow(x * 0.5**0.5)))))",
                ),
            ),
            _TILES,
            ("vision.layers.*.mlp:out", "vision.adapter.mlp:out"),
            sees="bf16",
        ),
        Fault(
            "router-sigmoid-in-16-bits",
            "precision",
            (
                Patch(
                    _ROUTER,
                    "sigmoid = jax.nn.sigmoid(logits.astype(self.numerics.router))",
                    f"{narrow('compute')}\n"
                    "    sigmoid = (1 / narrow(1 + narrow(jnp.exp(-logits.astype(self.numerics.router)))))",
                ),
            ),
            _LONG,
            ("layers.*.moe.router:out.scores",),
            sees="bf16",
        ),
        Fault(
            "residual-in-16-bits",
            "precision",
            (
                Patch(
                    _LAYER,
                    "hidden_states = hidden_states + attended.attention_output.astype(residual)",
                    "hidden_states = (hidden_states + attended.attention_output.astype(residual))"
                    ".astype(self.numerics.compute)",
                ),
                Patch(
                    _LAYER,
                    "shard(hidden_states + fed.astype(residual),",
                    "shard(hidden_states + fed.astype(self.numerics.compute),",
                ),
            ),
            _LONG,
            ("layers.*:out",),
            sees="mixed",
            doc="each layer gives the stream in the dtype of its products; its values stay within the floor of bf16",
        ),
        Fault(
            "loss-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "losses:causal_lm_loss",
                    "log_probs = jax.nn.log_softmax(logits[:, :-1].astype(numerics.loss), axis=-1)",
                    f"import jax.numpy as jnp\n    {narrow('numerics.compute')}\n"
                    "    wide = logits[:, :-1].astype(numerics.loss)\n"
                    "    log_probs = narrow(wide - narrow(jax.nn.logsumexp(wide, axis=-1, keepdims=True)))",
                ),
                Patch(
                    _MODULE + "losses:causal_lm_loss",
                    "return _mean_over_counted(log_probs, labels[:, 1:], numerics)",
                    "return narrow(_mean_over_counted(log_probs, labels[:, 1:], numerics))",
                ),
            ),
            _LONG,
            ("loss:out",),
            sees="bf16",
        ),
    ),
    doc="what must be in 32 bits, in 16",
)
