"""Faults of precision: sums that are rounded on the way."""

from paritygate.catalog.faults.rounding import BLOCK, SCORES, in_blocks, narrow
from paritygate.core.fault import Fault, FaultGroup, Patch

_LONG = "tiny/tiny-scout.long"
_MODULE = "jax_llama4."
_RMS = _MODULE + "norms:Llama4TextRMSNorm.__call__"
_WEIGHTS = _MODULE + "attention:attention_weights"
_ROUTER = _MODULE + "moe:Llama4Router.__call__"
_RMS_DIVIDED = "_divide_by_rms(x.astype(self.numerics.norm), self.eps)"
_SOFTMAX = "jax.nn.softmax(scores.astype(softmax), axis=-1)"
_AT_RMS = ("layers.*.input_norm:out", "layers.*.post_norm:out", "norm:out")
_AT_PROBS = ("layers.*.attn:inner.probs",)
# Every linear layer is to blame, and these are where they show.
_AT_LINEAR = (
    "layers.*.attn:inner.[qk]*",
    "layers.*.attn:out",
    "layers.*.moe.shared:out",
    "lm_head:out",
)

GROUP = FaultGroup(
    name="sums",
    family="llama4",
    faults=(
        Fault(
            "rms-norm-sum-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    f"normed = {_RMS_DIVIDED}",
                    f"{narrow('self.numerics.compute')}\n"
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
            "softmax-sum-in-16-bits",
            "precision",
            (
                Patch(
                    _WEIGHTS,
                    f"return {_SOFTMAX}",
                    f"{narrow('compute')}\n"
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
            "scores-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _WEIGHTS,
                    f"scores = {SCORES}",
                    f"{narrow('compute')}\n    wide = grouped.astype(softmax), key.astype(softmax)\n    "
                    + in_blocks(
                        "wide[0][..., at : at + 2]",
                        "wide[1][..., at : at + 2]",
                        'jnp.einsum("btkgh,bskh->bkgts", a, b, precision=numerics.precision)',
                        "width",
                        2,
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
                    "out = jnp.einsum(letters, grouped, value, precision=precision, preferred_element_type=wide,"
                    " out_sharding=split)",
                    f"{narrow('numerics.compute')}\n"
                    "    wide = grouped.astype(numerics.softmax), value.astype(numerics.softmax)\n    "
                    + in_blocks(
                        "wide[0][..., at : at + 4]",
                        "wide[1][:, at : at + 4]",
                        'jnp.einsum("bkgts,bskh->btkgh", a, b, precision=numerics.precision)',
                        "keys",
                        4,
                    )
                    + "\n    out = total.astype(numerics.compute)",
                ),
            ),
            _LONG,
            ("layers.*.attn:out",),
            sees="bf16",
        ),
        Fault(
            "linear-summed-in-16-bits",
            "precision",
            (
                Patch(
                    _MODULE + "linear:_wide_product",
                    "product = jax.lax.dot_general(\n"
                    "        rows, kernel, dimension_numbers, precision=precision, preferred_element_type=wide,"
                    " out_sharding=split\n    )",
                    f"{narrow('x.dtype')}\n    (ours,), (theirs,) = dimension_numbers[0]\n    "
                    + in_blocks(
                        f"jax.lax.slice_in_dim(rows, at, min(at + {BLOCK}, rows.shape[ours]), axis=ours)",
                        f"jax.lax.slice_in_dim(kernel, at, min(at + {BLOCK}, rows.shape[ours]), axis=theirs)",
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
            "router-logits-in-16-bits",
            "precision",
            (
                Patch(
                    _ROUTER,
                    "logits = jnp.einsum(letters, x, kernel, precision=precision, preferred_element_type=wide,"
                    " out_sharding=split)",
                    f"{narrow('compute')}\n"
                    "    wide = x.astype(self.numerics.router), kernel.astype(self.numerics.router)\n    "
                    + in_blocks(
                        f"wide[0][:, at : at + {BLOCK}]",
                        f"wide[1][at : at + {BLOCK}]",
                        "jnp.matmul(a, b, precision=precision)",
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
                    "product = jnp.einsum(letters, inputs, kernel, precision=precision, preferred_element_type=wide,"
                    " out_sharding=split)",
                    f"{narrow('inputs.dtype')}\n    "
                    + in_blocks(
                        f"inputs[..., at : at + {BLOCK}]",
                        f"kernel[..., at : at + {BLOCK}, :]",
                        "jnp.matmul(a, b, precision=precision, preferred_element_type=wide)",
                        "inputs.shape[-1]",
                    )
                    + "\n    product = total",
                ),
            ),
            _LONG,
            ("layers.*.moe.experts:out",),
            sees="bf16",
        ),
        Fault(
            "gradient-of-norm-weights-in-16-bits",
            "precision",
            (
                Patch(
                    _RMS,
                    "return (rounded * weight)",
                    f"{narrow('self.numerics.compute')}\n"
                    "    same = jax.custom_vjp(lambda value: value)\n"
                    "    same.defvjp(lambda value: (value, None), lambda _, gradient: (narrow(gradient),))\n"
                    "    return (rounded * same(jnp.broadcast_to(weight, rounded.shape)))",
                ),
            ),
            "text/tiny-scout.train",
            ("gradients:out.model.layers.*_layernorm.weight", "gradients:out.model.norm.weight"),
            sees="f16",
            doc="each token's part is rounded before the sum over the tokens; f16 has none so small",
        ),
    ),
    doc="sums kept in 16 bits",
)
