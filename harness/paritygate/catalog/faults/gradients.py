"""Faults that only the gradient shows: what it does not go through, and what it is summed in."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_TRAIN, _PICTURES = "text/tiny-scout.train", "vision/tiny-multimodal.train"
_MOE = "jax_llama4.moe:Llama4TextMoe"
_RMS = "jax_llama4.norms:Llama4TextRMSNorm.__call__"
_LAYER = "model.layers.*."

GROUP = FaultGroup(
    name="gradients",
    family="llama4",
    faults=(
        Fault(
            "gradient-stopped-at-the-scores",
            "semantic",
            (
                Patch(
                    f"{_MOE}._every_expert", "* scores.T[:, :, None]", "* jax.lax.stop_gradient(scores).T[:, :, None]"
                ),
            ),
            _TRAIN,
            (f"gradients:out.{_LAYER}feed_forward.router.weight",),
            doc="the router learns nothing; what is upstream of it lacks its part",
        ),
        Fault(
            "gradient-stopped-at-the-attention-weights",
            "semantic",
            (
                Patch(
                    "jax_llama4.attention:Llama4TextAttention.__call__",
                    "attention_weights(query, key, self.scaling, self.numerics, mask)",
                    "jax.lax.stop_gradient(attention_weights(query, key, self.scaling, self.numerics, mask))",
                ),
            ),
            _TRAIN,
            (f"gradients:out.{_LAYER}self_attn.q_proj.weight", f"gradients:out.{_LAYER}self_attn.k_proj.weight"),
        ),
        Fault(
            "gradient-stopped-at-the-shared-expert",
            "semantic",
            (
                Patch(
                    f"{_MOE}.__call__",
                    "self.shared_expert(tokens)",
                    "jax.lax.stop_gradient(self.shared_expert(tokens))",
                ),
            ),
            _TRAIN,
            (f"gradients:out.{_LAYER}shared_expert.*",),
        ),
        Fault(
            "gradient-without-norm-weights",
            "semantic",
            (Patch(_RMS, "self.weight[...]", "jax.lax.stop_gradient(self.weight[...])"),),
            _TRAIN,
            (f"gradients:out.{_LAYER}*_layernorm.weight", "gradients:out.model.norm.weight"),
            doc="norms taken for constants; every other gradient is right",
        ),
        Fault(
            "gradient-with-constant-rms",
            "semantic",
            (
                Patch(
                    "jax_llama4.norms:_divide_by_rms",
                    "x * jax.lax.rsqrt(mean_square + eps)",
                    "x * jax.lax.stop_gradient(jax.lax.rsqrt(mean_square + eps))",
                ),
            ),
            _TRAIN,
            (
                "gradients:out.model.layers.3.feed_forward.*",
                "gradients:out.model.layers.3.post_attention_layernorm.weight",
            ),
            doc="all is wrong but what comes after the last norm; going backwards, the last layer is the first",
        ),
        Fault(
            "gradient-stopped-at-biases",
            "semantic",
            (Patch("jax_llama4.linear:Linear.__call__", "self.bias[...]", "jax.lax.stop_gradient(self.bias[...])"),),
            _PICTURES,
            ("gradients:out.vision_model.*.bias",),
        ),
        Fault(
            "gradient-recomputed",
            "harmless",
            (
                Patch(
                    "jax_llama4.mlp:SiLUActivation.__call__",
                    "jax.nn.silu(x.astype(self.numerics.activation))",
                    "jax.checkpoint(jax.nn.silu)(x.astype(self.numerics.activation))",
                ),
            ),
            _TRAIN,
            doc="activations computed again in the backward pass",
        ),
    ),
    doc="gradients of the loss",
)
