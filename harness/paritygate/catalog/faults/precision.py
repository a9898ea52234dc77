"""Faults of precision: islands of 32 bits lost, and sums kept in 16.

Roundings are spelled out. Within a fusion XLA computes 16-bit values in 32 bits and rounds the result only, so that the
mere dtype loses nothing on a CPU that it loses where the arithmetic has 16 bits.
"""

from paritygate.core.fault import Fault, FaultGroup, Patch

_LONG, _FAR, _TILES = "tiny/tiny-scout.long", "tiny/tiny-scout.far", "vision/tiny-vision.tiles"
_MODULE = "jax_llama4."
_RMS = _MODULE + "norms:Llama4TextRMSNorm.__call__"
_L2 = _MODULE + "norms:Llama4TextL2Norm.__call__"
_LAYER_NORM = _MODULE + "norms:Llama4VisionLayerNorm.__call__"
_TABLE = _MODULE + "rope:rotation_table"
_WEIGHTS = _MODULE + "attention:attention_weights"
_ROUTER = _MODULE + "moe:Llama4Router.__call__"
_RMS_DIVIDED = "_divide_by_rms(x.astype(self.numerics.norm), self.eps)"
_SOFTMAX = "jax.nn.softmax(scores.astype(softmax), axis=-1)"
_BLOCK = 8

_AT_RMS = ("layers.*.input_norm:out", "layers.*.post_norm:out", "norm:out")
_AT_QK = ("layers.*.attn.qk_norm:out*",)
_AT_LAYER_NORM = ("vision.pre_norm:out", "vision.layers.*_norm:out", "vision.post_norm:out")
_AT_TABLE = ("rope:out",)
_AT_PROBS = ("layers.*.attn:inner.probs",)
# Every linear layer is to blame, and these are where they show.
_AT_LINEAR = (
    "layers.*.attn:inner.[qk]*",
    "layers.*.attn:out",
    "layers.*.moe.shared:out",
    "lm_head:out",
)


def _narrow(dtype: str) -> str:
    """Source of a function that rounds to `dtype`."""
    return f"narrow = lambda value: jax.lax.reduce_precision(value, jnp.finfo({dtype}).nexp, jnp.finfo({dtype}).nmant)"


def _first(target: str, line: str, dtype: str) -> Patch:
    """The function gets `narrow` before a line."""
    return Patch(target, line, f"{_narrow(dtype)}\n    {line}")


def _in_blocks(one: str, other: str, product: str, length: str, block: int = _BLOCK) -> str:
    """Source of a sum of products that is rounded after each block of the axis of that length."""
    return (
        f"total = 0\n    for at in range(0, {length}, {block}):\n"
        f"        a, b = {one}, {other}\n        total = narrow(total + {product})"
    )


GROUP = FaultGroup(
    name="precision",
    family="llama4",
    faults=(
        Fault(
            "rms-norm-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    f"normed = {_RMS_DIVIDED}",
                    f"{_narrow('self.numerics.compute')}\n"
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
                    f"{_narrow('self.numerics.compute')}\n"
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
            "rms-norm-sum-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    f"normed = {_RMS_DIVIDED}",
                    f"{_narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.norm)\n"
                    "    total = 0\n"
                    "    for i in range(x.shape[-1]):\n"
                    "        total = narrow(total + jnp.square(x[..., i : i + 1]))\n"
                    "    normed = x * jax.lax.rsqrt(total / x.shape[-1] + self.eps)",
                ),
            ),
            _LONG,
            _AT_RMS,
            sees="bf16",
        ),
        Fault(
            "qk-norm-in-16-bits",
            "precision",
            (
                Patch(
                    _L2,
                    f"return {_RMS_DIVIDED}",
                    f"{_narrow('self.numerics.compute')}\n"
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
                _first(_LAYER_NORM, "wide = x.astype(norm)", "compute"),
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
                _first(_LAYER_NORM, "wide = x.astype(norm)", "compute"),
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
                    f"    {_narrow('numerics.compute')}\n"
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
                    f"import jax\n    {_narrow('numerics.compute')}\n    return narrow(_cos_and_sin(angles))",
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
                    f"import jax\n    {_narrow('numerics.compute')}\n"
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
                    f"{_narrow('compute')}\n"
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
            "softmax-sum-in-16-bits",
            "precision",
            (
                Patch(
                    _WEIGHTS,
                    f"return {_SOFTMAX}",
                    f"{_narrow('compute')}\n"
                    "    scores = scores.astype(softmax)\n"
                    "    powers = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))\n"
                    "    total = 0\n"
                    "    for i in range(powers.shape[-1]):\n"
                    "        total = narrow(total + powers[..., i : i + 1])\n"
                    "    return (powers / total)",
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
            sees="bf16",
            doc="the factor itself is rounded, which puts all scores off by the same part",
        ),
        Fault(
            "scores-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _WEIGHTS,
                    'scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, precision=numerics.precision)',
                    f"{_narrow('compute')}\n    wide = grouped.astype(softmax), key.astype(softmax)\n    "
                    + _in_blocks(
                        "wide[0][..., at : at + 4]",
                        "wide[1][..., at : at + 4]",
                        'jnp.einsum("btkgh,bskh->bkgts", a, b, precision=numerics.precision)',
                        "width",
                        4,
                    )
                    + "\n    scores = total.astype(compute)",
                ),
            ),
            _LONG,
            _AT_PROBS,
            sees="bf16",
        ),
        Fault(
            "values-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "attention:weighted_values",
                    'out = jnp.einsum("bkgts,bskh->btkgh", grouped, value, precision=numerics.precision)',
                    f"{_narrow('numerics.compute')}\n"
                    "    wide = grouped.astype(numerics.softmax), value.astype(numerics.softmax)\n    "
                    + _in_blocks(
                        f"wide[0][..., at : at + {_BLOCK}]",
                        f"wide[1][:, at : at + {_BLOCK}]",
                        'jnp.einsum("bkgts,bskh->btkgh", a, b, precision=numerics.precision)',
                        "keys",
                    )
                    + "\n    out = total.astype(numerics.compute)",
                ),
            ),
            _LONG,
            ("layers.*.attn:out",),
            sees="bf16",
        ),
        Fault(
            "temperature-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "attention:Llama4TextAttention._scale_query",
                    "scaled = query.astype(self.numerics.temperature) * factor[..., None, None]",
                    f"{_narrow('self.numerics.compute')}\n"
                    "    scaled = query.astype(self.numerics.temperature) * narrow(factor)[..., None, None]",
                ),
            ),
            _LONG,
            ("layers.3.attn:inner.query",),
            sees="bf16",
        ),
        Fault(
            "linear-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "linear:_wide_product",
                    "product = jax.lax.dot_general(rows, kernel, dimension_numbers, precision=precision, "
                    "preferred_element_type=wide)",
                    f"{_narrow('x.dtype')}\n    (ours,), (theirs,) = dimension_numbers[0]\n    "
                    + _in_blocks(
                        f"jax.lax.slice_in_dim(rows, at, min(at + {_BLOCK}, rows.shape[ours]), axis=ours)",
                        f"jax.lax.slice_in_dim(kernel, at, min(at + {_BLOCK}, rows.shape[ours]), axis=theirs)",
                        "jax.lax.dot_general(a, b, dimension_numbers, precision, wide)",
                        "rows.shape[ours]",
                    )
                    + "\n    product = total",
                ),
            ),
            _LONG,
            _AT_LINEAR,
            sees="bf16",
            doc="a kernel that goes over the inner axis in blocks and keeps its sum in the dtype of the result",
        ),
        Fault(
            "silu-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "mlp:SiLUActivation.__call__",
                    "return jax.nn.silu(x.astype(self.numerics.activation))",
                    "import jax.numpy as jnp\n"
                    f"    {_narrow('self.numerics.compute')}\n"
                    "    x = x.astype(self.numerics.activation)\n"
                    "    return (x * narrow(jax.nn.sigmoid(x)))",
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
                    f"    {_narrow('self.numerics.compute')}\n"
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
                    f"{_narrow('compute')}\n"
                    "    sigmoid = (1 / narrow(1 + narrow(jnp.exp(-logits.astype(self.numerics.router)))))",
                ),
            ),
            _LONG,
            ("layers.*.moe.router:out.scores",),
            sees="bf16",
        ),
        Fault(
            "router-logits-in-16-bits",
            "precision",
            (
                Patch(
                    _ROUTER,
                    'logits = jnp.einsum("md,de->me", x, self.kernel[...].astype(compute),'
                    " precision=self.numerics.precision)",
                    f"{_narrow('compute')}\n"
                    "    wide = x.astype(self.numerics.router), self.kernel[...].astype(self.numerics.router)\n    "
                    + _in_blocks(
                        f"wide[0][:, at : at + {_BLOCK}]",
                        f"wide[1][at : at + {_BLOCK}]",
                        "jnp.matmul(a, b, precision=self.numerics.precision)",
                        "x.shape[1]",
                    )
                    + "\n    logits = total.astype(compute)",
                ),
            ),
            _LONG,
            ("layers.*.moe.router:out.logits",),
            sees="bf16",
        ),
        Fault(
            "experts-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "moe:bmm",
                    "return jnp.einsum(letters, inputs, kernel, precision=precision, preferred_element_type=wide)",
                    f"{_narrow('inputs.dtype')}\n    "
                    + _in_blocks(
                        f"inputs[..., at : at + {_BLOCK}]",
                        f"kernel[..., at : at + {_BLOCK}, :]",
                        "jnp.matmul(a, b, precision=precision, preferred_element_type=wide)",
                        "inputs.shape[-1]",
                    )
                    + "\n    return total",
                ),
            ),
            _LONG,
            ("layers.*.moe.experts:out",),
            sees="bf16",
        ),
        Fault(
            "loss-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "losses:causal_lm_loss",
                    "log_probs = jax.nn.log_softmax(logits[:, :-1].astype(numerics.loss), axis=-1)",
                    f"import jax.numpy as jnp\n    {_narrow('numerics.compute')}\n"
                    "    wide = logits[:, :-1].astype(numerics.loss)\n"
                    "    log_probs = narrow(wide - narrow(jax.nn.logsumexp(wide, axis=-1, keepdims=True)))",
                ),
            ),
            _LONG,
            ("loss:out",),
            sees="bf16",
        ),
        Fault(
            "gradient-of-norm-weights-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    "return (rounded * weight)",
                    f"{_narrow('self.numerics.compute')}\n"
                    "    same = jax.custom_vjp(lambda value: value)\n"
                    "    same.defvjp(lambda value: (value, None), lambda _, gradient: (narrow(gradient),))\n"
                    "    return (rounded * same(jnp.broadcast_to(weight, rounded.shape)))",
                ),
            ),
            "text/tiny-scout.train",
            ("gradients:out.model.layers.*_layernorm.weight", "gradients:out.model.norm.weight"),
            sees="bf16",
            doc="each token's part of the gradient is rounded before the sum over the tokens",
        ),
    ),
    doc="islands of 32 bits lost, sums in 16 bits",
)
