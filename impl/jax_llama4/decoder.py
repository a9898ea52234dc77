"""One decoder layer: attention and feed-forward, each after a norm and added to the residual stream."""

from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jax_llama4.attention import Llama4TextAttention
from jax_llama4.config import Llama4TextConfig
from jax_llama4.mlp import Llama4TextMLP
from jax_llama4.moe import Llama4TextMoe
from jax_llama4.norms import Llama4TextRMSNorm
from jax_llama4.precision import Numerics


class Llama4TextDecoderLayer(nnx.Module):
    """A layer of one of four kinds: rope or not, mixture or dense.

    `layer_idx` selects the kind and is not kept, so that a program compiled for one layer serves all of its kind.
    The attention type is not part of the kind: it arrives as the mask.
    """

    def __init__(self, config: Llama4TextConfig, layer_idx: int, *, numerics: Numerics, rngs: nnx.Rngs):
        self.self_attn = Llama4TextAttention(config, layer_idx, numerics=numerics, rngs=rngs)
        if layer_idx in config.moe_layers:
            self.feed_forward = Llama4TextMoe(config, numerics=numerics, rngs=rngs)
        else:
            self.feed_forward = Llama4TextMLP(config, config.intermediate_size_mlp, numerics=numerics, rngs=rngs)
        self.input_layernorm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps, numerics=numerics)
        self.post_attention_layernorm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps, numerics=numerics)

    def __call__(
        self,
        hidden_states: Float[Array, "B T D"],
        mask: Bool[Array, "B T S"],
        frequencies: Float[Array, "B T R 2"],
        query_slots: Int[Array, "T"],
    ) -> Float[Array, "B T D"]:
        return self._forward(hidden_states, mask, frequencies, query_slots)[0]

    def _forward(
        self,
        hidden_states: Float[Array, "B T D"],
        mask: Bool[Array, "B T S"],
        frequencies: Float[Array, "B T R 2"],
        query_slots: Int[Array, "T"],
    ) -> tuple[Float[Array, "B T D"], Float[Array, "M E"] | None]:
        attended = self.self_attn(self.input_layernorm(hidden_states), mask, frequencies, query_slots)
        hidden_states = hidden_states + attended
        normed = self.post_attention_layernorm(hidden_states)
        router_logits = None
        if isinstance(self.feed_forward, Llama4TextMoe):
            fed, router_logits = self.feed_forward(normed)
        else:
            fed = self.feed_forward(normed)
        return hidden_states + fed, router_logits
