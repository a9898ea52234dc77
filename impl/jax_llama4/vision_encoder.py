"""The vision encoder: attention without a mask over the patches of one tile, feed-forward, layer, stack."""

import functools
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.attention import attention_weights, weighted_values
from jax_llama4.config_vision import Llama4VisionConfig
from jax_llama4.linear import Linear
from jax_llama4.mlp import GELUActivation
from jax_llama4.norms import Llama4VisionLayerNorm
from jax_llama4.outputs import AttentionLayerOutput, BaseModelOutput, DecoderLayerOutput
from jax_llama4.precision import Numerics, resolve
from jax_llama4.rope import apply_rotary_emb
from jax_llama4.sharding import shard
from jax_llama4.stack import LayerCall, build_layers, checked_policy, run_layers
from jax_llama4.taps import Tap


class Llama4VisionAttention(nnx.Module):
    """Every patch attends to every patch of its tile, the class token among them."""

    def __init__(
        self,
        config: Llama4VisionConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        self.numerics = resolve(dtype, param_dtype, precision, numerics)
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        width = config.num_attention_heads * config.head_dim
        project = functools.partial(Linear, std=config.initializer_range, bias=True, numerics=self.numerics, rngs=rngs)
        self.q_proj = project(config.hidden_size, width)
        self.k_proj = project(config.hidden_size, width)
        self.v_proj = project(config.hidden_size, width)
        self.o_proj = project(width, config.hidden_size)
        self.tap_q_rope = Tap()
        self.tap_k_rope = Tap()
        self.tap_probs = Tap()

    def __call__(
        self,
        hidden_states: Float[Array, "I P D"],
        frequencies: Float[Array, "P R 2"],
        output_attentions: bool = False,
    ) -> AttentionLayerOutput:
        """Attend and project back to D; `frequencies` are those of `Llama4VisionRotaryEmbedding`, one for all tiles.

        HF: takes an attention mask too and does not read it.
        """
        query, key, value = (self._heads(project(hidden_states)) for project in (self.q_proj, self.k_proj, self.v_proj))
        query = self.tap_q_rope(apply_rotary_emb(query, frequencies[None], self.numerics))
        key = self.tap_k_rope(apply_rotary_emb(key, frequencies[None], self.numerics))
        weights = self.tap_probs(attention_weights(query, key, self.scaling, self.numerics))
        mixed = weighted_values(weights, value, self.numerics)
        out = self.o_proj(shard(mixed, "batch", "length", "heads"))
        return AttentionLayerOutput(
            attention_output=shard(out, "batch", "length", "embed"),
            attention_weight=weights if output_attentions else None,
        )

    def _heads(self, x: Float[Array, "I P W"]) -> Float[Array, "I P N H"]:
        return shard(x.reshape(*x.shape[:2], -1, self.head_dim), "batch", "length", "heads", "head_dim")


class Llama4VisionMLP(nnx.Module):
    """fc2(gelu(fc1(x))) with biases, widths D → F → D."""

    def __init__(
        self,
        config: Llama4VisionConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        project = functools.partial(Linear, std=config.initializer_range, bias=True, numerics=numerics, rngs=rngs)
        self.fc1 = project(config.hidden_size, config.intermediate_size)
        self.fc2 = project(config.intermediate_size, config.hidden_size)
        self.activation_fn = GELUActivation(numerics)

    def __call__(self, hidden_states: Float[Array, "I P D"]) -> Float[Array, "I P D"]:
        hidden = shard(self.activation_fn(self.fc1(hidden_states)), "batch", "length", "mlp")
        return shard(self.fc2(hidden), "batch", "length", "embed")


class Llama4VisionEncoderLayer(nnx.Module):
    """Attention and feed-forward, each after a norm and added to the residual stream."""

    def __init__(
        self,
        config: Llama4VisionConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        self.numerics = numerics = resolve(dtype, param_dtype, precision, numerics)
        self.self_attn = Llama4VisionAttention(config, numerics=numerics, rngs=rngs)
        self.mlp = Llama4VisionMLP(config, numerics=numerics, rngs=rngs)
        self.input_layernorm = Llama4VisionLayerNorm(config.hidden_size, numerics=numerics)
        self.post_attention_layernorm = Llama4VisionLayerNorm(config.hidden_size, numerics=numerics)

    def __call__(
        self,
        hidden_states: Float[Array, "I P D"],
        frequencies: Float[Array, "P R 2"],
        output_attentions: bool = False,
    ) -> DecoderLayerOutput:
        """Arguments are those of `Llama4VisionAttention`; hidden states in the residual dtype. HF: returns a tuple."""
        residual = self.numerics.residual
        attended = self.self_attn(self.input_layernorm(hidden_states), frequencies, output_attentions)
        hidden_states = hidden_states + attended.attention_output.astype(residual)
        hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states)).astype(residual)
        return DecoderLayerOutput(
            hidden_states=shard(hidden_states, "batch", "length", "embed"),
            attention_weight=attended.attention_weight,
        )


class Llama4VisionEncoder(nnx.Module):
    """The stack of encoder layers, without a norm after the last; options are those of `Llama4TextModel`."""

    def __init__(
        self,
        config: Llama4VisionConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        remat_policy: str | None = None,
        scan_layers: bool = False,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        self.remat_policy = checked_policy(remat_policy)

        def build(_: int, rngs: nnx.Rngs) -> Llama4VisionEncoderLayer:
            return Llama4VisionEncoderLayer(config, numerics=numerics, rngs=rngs)

        kinds = ["encoder"] * config.num_hidden_layers
        self.layers = nnx.List(build_layers(build, kinds, rngs, scan_layers=scan_layers))

    def __call__(
        self,
        hidden_states: Float[Array, "I P D"],
        frequencies: Float[Array, "P R 2"],
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutput:
        """All layers; `hidden_states`, where asked for, are what enters each layer and what leaves the last."""
        call = LayerCall(
            words={"output_attentions": output_attentions},
            arrays={"frequencies": frequencies},
            remat=self.remat_policy,
            keep_entering=output_hidden_states,
        )
        out = run_layers(self.layers, hidden_states, (None,) * len(self.layers), call)
        return BaseModelOutput(
            last_hidden_state=out.hidden_states,
            hidden_states=(*out.entering, out.hidden_states) if output_hidden_states else None,
            attentions=out.attentions if output_attentions else None,
        )
