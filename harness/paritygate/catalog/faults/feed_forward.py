"""Faults of the feed-forward block, dense and shared, and of its activation."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _MAVERICK = "tiny/tiny-scout.long", "tiny/tiny-maverick.long"
_MLP = "jax_llama4.mlp:Llama4TextMLP.__call__"
_SILU = "jax_llama4.mlp:SiLUActivation.__call__"
_HIDDEN = "self.activation_fn(self.gate_proj(x)) * self.up_proj(x)"
_RESULT = "jax.nn.silu(x.astype(self.numerics.activation))"
_AT = ("layers.*.moe.shared:out", "layers.*.mlp:out")
_AT_SILU = (*_AT, "layers.*.moe.experts:out")

GROUP = FaultGroup(
    name="feed_forward",
    family="llama4",
    faults=(
        Fault(
            "gate-and-up-exchanged",
            "semantic",
            (Patch(_MLP, _HIDDEN, "self.gate_proj(x) * self.activation_fn(self.up_proj(x))"),),
            _MAVERICK,
            _AT,
            hypothesis="gate and up swapped",
        ),
        Fault(
            "activation-of-the-product",
            "semantic",
            (Patch(_MLP, _HIDDEN, "self.activation_fn(self.gate_proj(x) * self.up_proj(x))"),),
            _MAVERICK,
            _AT,
            hypothesis="product activated",
        ),
        Fault(
            "gelu-for-silu",
            "semantic",
            (Patch(_SILU, "jax.nn.silu(", "jax.nn.gelu("),),
            _SCOUT,
            _AT_SILU,
            hypothesis="gelu by tanh for silu",
        ),
        Fault(
            "silu-with-a-factor",
            "semantic",
            (
                Patch(
                    _SILU,
                    _RESULT,
                    "(x.astype(self.numerics.activation) * jax.nn.sigmoid(1.702 * x.astype(self.numerics.activation)))",
                ),
            ),
            _SCOUT,
            _AT_SILU,
            doc="the activation of gpt-oss and of CLIP",
            hypothesis="gelu by sigmoid for silu",
        ),
        Fault(
            "silu-by-definition",
            "harmless",
            (
                Patch(
                    _SILU,
                    _RESULT,
                    "(jax.nn.sigmoid(x.astype(self.numerics.activation)) * x.astype(self.numerics.activation))",
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "silu-by-tanh",
            "harmless",
            (
                Patch(
                    _SILU,
                    "return jax.nn.silu(x.astype(self.numerics.activation)).astype(self.numerics.compute)",
                    "half = 0.5 * x.astype(self.numerics.activation)\n"
                    "    return (half + half * jax.lax.tanh(half)).astype(self.numerics.compute)",
                ),
            ),
            _SCOUT,
            doc="sigmoid(x) is (1 + tanh(x / 2)) / 2",
        ),
    ),
    doc="the gated feed-forward block",
)
