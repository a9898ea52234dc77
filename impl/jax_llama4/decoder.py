"""One decoder layer: attention and feed-forward, each after a norm and added to the residual stream."""

from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int

from jax_llama4.attention import Llama4TextAttention
from jax_llama4.config import Llama4TextConfig
from jax_llama4.dispatch import Dispatch
from jax_llama4.mlp import Llama4TextMLP
from jax_llama4.modes import MODE_TRAIN, Mode
from jax_llama4.moe import Llama4TextMoe
from jax_llama4.norms import Llama4TextRMSNorm
from jax_llama4.outputs import DecoderLayerOutput
from jax_llama4.precision import Numerics, resolve
from jax_llama4.sharding import shard


class Llama4TextDecoderLayer(nnx.Module):
    """A layer of one kind: rope or not, chunked or full attention, mixture or dense.

    `layer_idx` selects the kind and is not kept, so that a program compiled for one layer serves all of its kind.
    """

    def __init__(
        self,
        config: Llama4TextConfig,
        layer_idx: int,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        moe_dispatch: Dispatch = "auto",
    ):
        self.numerics = numerics = resolve(dtype, param_dtype, precision, numerics)
        self.self_attn = Llama4TextAttention(config, layer_idx, numerics=numerics, rngs=rngs)
        if layer_idx in config.moe_layers:
            self.feed_forward = Llama4TextMoe(config, numerics=numerics, rngs=rngs, moe_dispatch=moe_dispatch)
        else:
            self.feed_forward = Llama4TextMLP(config, config.intermediate_size_mlp, numerics=numerics, rngs=rngs)
        self.input_layernorm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps, numerics=numerics)
        self.post_attention_layernorm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps, numerics=numerics)

    def __call__(
        self,
        hidden_states: Float[Array, "B T D"],
        mask_info: Any = None,
        position_ids: Int[Array, "B T"] | None = None,
        mode: Mode = MODE_TRAIN,
        cache_view: Any = None,
        cache_metadata: Any = None,
        output_attentions: bool = False,
        output_router_logits: bool = False,
        frequencies: Float[Array, "B T R 2"] | None = None,
        *,
        query_slots: Int[Array, "... T"] | None = None,
    ) -> DecoderLayerOutput:
        """Arguments are those of `Llama4TextAttention`; the mixture's router logits are returned where asked for.

        Hidden states come and go in the residual dtype.
        """
        residual = self.numerics.residual
        attended = self.self_attn(
            self.input_layernorm(hidden_states),
            mask_info,
            position_ids,
            mode,
            cache_view,
            cache_metadata,
            output_attentions,
            frequencies,
            query_slots=query_slots,
        )
        hidden_states = hidden_states + attended.attention_output.astype(residual)
        normed = self.post_attention_layernorm(hidden_states)
        router_logits = None
        if isinstance(self.feed_forward, Llama4TextMoe):
            fed, router_logits = self.feed_forward(normed)
        else:
            fed = self.feed_forward(normed)
        return DecoderLayerOutput(
            hidden_states=shard(hidden_states + fed.astype(residual), "batch", "length", "embed"),
            attention_weight=attended.attention_weight,
            router_logits=router_logits if output_router_logits else None,
            cache_view=attended.cache_view,
        )
