"""The mixture of experts: router, routed experts, and the shared expert beside them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jax_llama4.config import Llama4TextConfig
from jax_llama4.dispatch import (
    Dispatch,
    Grouped,
    check_dispatch,
    dispatch_under,
    grouped_dot,
    permute,
    sort_by_expert,
)
from jax_llama4.linear import normal_init
from jax_llama4.mlp import Llama4TextMLP, SiLUActivation
from jax_llama4.precision import Numerics, accumulation, resolve
from jax_llama4.sharding import active_placement, kept, reshard, shard
from jax_llama4.taps import Tap


def bmm(inputs: Float[Array, "*B I"], kernel: Float[Array, "... I J"], precision: Any) -> Float[Array, "*B J"]:
    """Matrix product over the last axis of `inputs`, batched over the leading axes both have."""
    letters = "...k,...kj->...j" if inputs.ndim == 1 else "...ik,...kj->...ij"
    wide = accumulation(inputs.dtype)
    split = kept(letters, inputs, kernel)
    product = jnp.einsum(letters, inputs, kernel, precision=precision, preferred_element_type=wide, out_sharding=split)
    return product.astype(inputs.dtype)


class Llama4Router(nnx.Module):
    """Choose k experts per token and give each a score in (0, 1).

    `kernel` has shape (D, E). HF: is itself a Linear, so the weight sits at `router.weight`.
    """

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        self.top_k = config.num_experts_per_tok
        self.num_experts = config.num_local_experts
        self.numerics = numerics
        init = normal_init(config.initializer_range)
        self.kernel = nnx.Param(init(rngs.params(), (config.hidden_size, self.num_experts), numerics.param))
        self.tap_choice = Tap()

    def __call__(self, x: Float[Array, "M D"]) -> tuple[Float[Array, "M E"], Float[Array, "M E"]]:
        """Scores, zero for experts not chosen, and the logits they come from; M = B · T tokens.

        HF: `torch.topk` on a CPU breaks ties in no fixed order below 64 experts; here the lowest index wins.
        """
        compute, wide = self.numerics.compute, accumulation(self.numerics.compute)
        kernel, precision = self.kernel[...].astype(compute), self.numerics.precision
        letters = "md,de->me"
        split = kept(letters, x, kernel)
        logits = jnp.einsum(letters, x, kernel, precision=precision, preferred_element_type=wide, out_sharding=split)
        logits = logits.astype(self.numerics.router_logits)
        choice: Int[Array, "M k"] = self.tap_choice(jax.lax.top_k(logits, self.top_k)[1])
        experts = jnp.arange(self.num_experts, dtype=choice.dtype)
        chosen = jnp.any(choice[:, :, None] == experts, axis=1)
        # HF: fills the others with -inf before the sigmoid. Each score stands alone: no softmax, no sum to one.
        sigmoid = jax.nn.sigmoid(logits.astype(self.numerics.router)).astype(compute)
        return jnp.where(chosen, sigmoid, jnp.zeros_like(sigmoid)), logits


class Llama4TextExperts(nnx.Module):
    """All routed experts at once.

    `gate_up_proj` (E, D, 2F) holds the gate in its first F columns and up in the last F; `down_proj` is (E, F, D).
    """

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        experts, width, ffn = config.num_local_experts, config.hidden_size, config.intermediate_size
        init = normal_init(config.initializer_range)
        self.numerics = numerics
        self.gate_up_proj = nnx.Param(init(rngs.params(), (experts, width, 2 * ffn), numerics.param))
        self.down_proj = nnx.Param(init(rngs.params(), (experts, ffn, width), numerics.param))
        self.act_fn = SiLUActivation(numerics)

    def __call__(self, x: Float[Array, "R D"]) -> Float[Array, "R D"]:
        """Run expert e on the e-th of E equal blocks of rows; R = E · M.

        Rows must be grouped by expert. Plain tokens would be given to experts by their place in the batch, and only a
        row count that E does not divide can be refused (ValueError).
        """
        compute, precision = self.numerics.compute, self.numerics.precision
        experts = self.gate_up_proj.shape[0]
        if x.shape[0] % experts:
            raise ValueError(
                f"Llama4TextExperts: {x.shape[0]} rows cannot be grouped by {experts} experts (input {x.shape})"
            )
        grouped = shard(x.reshape(experts, -1, x.shape[-1]), "expert", "batch", "embed")
        gate, up = jnp.split(bmm(grouped, self.gate_up_proj[...].astype(compute), precision), 2, axis=-1)
        hidden = shard(up * self.act_fn(gate), "expert", "batch", "expert_mlp")
        out = bmm(hidden, self.down_proj[...].astype(compute), precision)
        return reshard(out, "expert", None, None).reshape(x.shape)

    def on_sorted(self, x: Float[Array, "R D"], sizes: Int[Array, "E"], how: Grouped) -> Float[Array, "R D"]:
        """Run each row through its expert: the first `sizes[0]` rows through expert 0, and so on.

        What it holds in rows after the last group is not specified.
        """
        compute, precision = self.numerics.compute, self.numerics.precision
        both = grouped_dot(x, self.gate_up_proj[...].astype(compute), sizes, how, precision)
        gate, up = jnp.split(both, 2, axis=-1)
        return grouped_dot(up * self.act_fn(gate), self.down_proj[...].astype(compute), sizes, how, precision)


class Llama4TextMoe(nnx.Module):
    """Shared expert plus the chosen routed experts, each on the token times its score.

    The score scales the expert's input. Scaling its output is another function, because the block is not linear.
    `moe_dispatch` says how tokens get to their experts: `dense` as in HF, every expert sees every token, those not
    chosen as zeros, at E times the work; `tiled`, `ragged` or `auto` multiply the chosen rows only, see `dispatch`.
    """

    def __init__(
        self,
        config: Llama4TextConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        moe_dispatch: Dispatch = "auto",
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        self.experts = Llama4TextExperts(config, numerics=numerics, rngs=rngs)
        self.router = Llama4Router(config, numerics=numerics, rngs=rngs)
        self.shared_expert = Llama4TextMLP(config, numerics=numerics, rngs=rngs)
        self.moe_dispatch: Dispatch = check_dispatch(moe_dispatch)

    def __call__(self, hidden_states: Float[Array, "B T D"]) -> tuple[Float[Array, "B T D"], Float[Array, "M E"]]:
        """The block's output and the router's logits; M = B · T.

        HF: returns the output flattened to (M, D).
        """
        # Rows of tokens one after another, and blocks of tokens too, are split along the first of both axes only.
        tokens = reshard(hidden_states, "batch", None, "embed").reshape(-1, hidden_states.shape[-1])
        scores, logits = self.router(tokens)
        how = dispatch_under(self.moe_dispatch, active_placement())
        routed = self._every_expert(tokens, scores) if how == "dense" else self._chosen_experts(tokens, scores, how)
        mixed = (self.shared_expert(tokens) + routed).reshape(hidden_states.shape)
        return reshard(mixed, "batch", "length", "embed"), logits

    def _every_expert(self, tokens: Float[Array, "M D"], scores: Float[Array, "M E"]) -> Float[Array, "M D"]:
        routed_in = tokens[None, :, :] * scores.T[:, :, None]
        routed_in = reshard(routed_in, "expert", None, None)
        routed_out = self.experts(routed_in.reshape(-1, tokens.shape[-1])).reshape(routed_in.shape)
        # HF: torch sums 16-bit values in float32 and rounds once; so does jnp.sum.
        return jnp.sum(routed_out, axis=0)

    def _chosen_experts(
        self, tokens: Float[Array, "M D"], scores: Float[Array, "M E"], how: Grouped
    ) -> Float[Array, "M D"]:
        # The k largest scores are the chosen ones. A chosen score that underflowed to zero may lose its place to
        # another zero, which adds as little.
        chosen_scores, choice = jax.lax.top_k(scores, self.router.top_k)
        routed_in = tokens[:, None, :] * chosen_scores[:, :, None]
        order, inverse, sizes = sort_by_expert(choice.reshape(-1), self.router.num_experts)
        rows = permute(routed_in.reshape(-1, tokens.shape[-1]), order, inverse)
        routed_out = permute(self.experts.on_sorted(rows, sizes, how), inverse, order)
        return jnp.sum(routed_out.reshape(routed_in.shape), axis=1)
