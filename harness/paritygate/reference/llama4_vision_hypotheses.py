"""Ways to be wrong about Llama 4's vision tower and its merge with the text, as replacements of HF's functions."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from paritygate.reference.llama4_attention_hypotheses import rotated_by_halves
from paritygate.reference.llama4_text_hypotheses import activated

Original = Callable[..., Any]

# Patches, class token, positions


def _patches(original: Original, self: Any, pixels: Tensor, order: str, patch_order: str = "channel row column") -> Any:
    """HF's unfolding, with patches or the values of a patch in another order."""
    side = self.unfold.kernel_size[0]
    rows, columns = pixels.shape[2] // side, pixels.shape[3] // side
    cut = pixels.reshape(*pixels.shape[:2], rows, side, columns, side)
    axes = {"row by row": (2, 4), "column by column": (4, 2)}[order]
    inner = [{"channel": 1, "row": 3, "column": 5}[name] for name in patch_order.split()]
    return self.linear(cut.permute(0, *axes, *inner).reshape(len(pixels), rows * columns, -1))


patches_by_column = partial(_patches, order="column by column")
patch_channel_last = partial(_patches, order="row by row", patch_order="row column channel")
patch_by_column = partial(_patches, order="row by row", patch_order="channel column row")


def _tower(
    original: Original,
    self: Any,
    pixel_values: Tensor,
    *,
    class_token: str = "last",
    kept: slice = slice(None, -1),
    pre_norm: Callable[..., Any] | None = None,
    post_norm: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> BaseModelOutputWithPooling:
    """HF's forward of the tower with one of its steps another."""
    x = self.patch_embedding(pixel_values)
    token = self.class_embedding.expand(len(x), 1, -1)
    x = torch.cat([x, token] if class_token == "last" else [token, x], dim=1)
    if pre_norm is not None:
        self.layernorm_pre.forward = pre_norm
    if post_norm is not None:
        self.layernorm_post.forward = post_norm
    x = self.layernorm_pre((x + self.positional_embedding_vlm)[:, None])[:, 0]
    x = self.model(x, attention_mask=None, freqs_ci=self.rotary_embedding(pixel_values), return_dict=True)
    x = self.layernorm_post(x.last_hidden_state)[:, kept]
    return BaseModelOutputWithPooling(last_hidden_state=self.vision_adapter(x))


class_token_first = partial(_tower, class_token="first")
class_token_first_and_dropped = partial(_tower, class_token="first", kept=slice(1, None))
first_patch_dropped = partial(_tower, kept=slice(1, None))
pre_norm_missing = partial(_tower, pre_norm=torch.clone)
post_norm_missing = partial(_tower, post_norm=torch.clone)

# Rotary embedding


def _angles(
    original: Original,
    config: Any,
    *,
    first: int = 1,
    order: str = "column row",
    class_turns: str = "no",
    class_place: str = "last",
    pairs: str = "apart",
    width_x: float = 1.0,
) -> Tensor:
    """HF's table of rotations with one of its steps another."""
    side, width = config.image_size // config.patch_size, config.hidden_size // config.num_attention_heads // 2
    frequencies = config.rope_parameters["rope_theta"] ** -(torch.arange(0, width, 2).double() / (width * width_x))
    places = torch.arange(side * side)
    axes = {"column": places % side + first, "row": places // side + first}
    x, y = (axes[name][:, None] * frequencies for name in order.split())
    angles = torch.cat([x, y], dim=-1) if pairs == "apart" else torch.stack([x, y], dim=-1).flatten(1)
    of_class = angles[:1] if class_turns == "as the first patch" else torch.zeros_like(angles[:1])
    angles = torch.cat([of_class, angles] if class_place == "first" else [angles, of_class])[:, None]
    return torch.polar(torch.ones_like(angles), angles)


rope_axes_swapped = partial(_angles, order="row column")
rope_of_columns_only = partial(_angles, order="column column")
rope_from_0 = partial(_angles, first=0)
rope_from_2 = partial(_angles, first=2)
rope_class_first = partial(_angles, class_place="first")
rope_turns_class = partial(_angles, class_turns="as the first patch")
rope_axes_alternate = partial(_angles, pairs="alternating")
rope_by_whole_head = partial(_angles, width_x=2.0)


def rope_by_halves(original: Original, query: Tensor, key: Tensor, freqs_ci: Tensor) -> tuple[Tensor, Tensor]:
    freqs = freqs_ci.squeeze(1)[None]
    return rotated_by_halves(query, freqs), rotated_by_halves(key, freqs)


def rope_missing(original: Original, query: Tensor, key: Tensor, freqs_ci: Tensor) -> tuple[Tensor, Tensor]:
    return query.clone(), key.clone()


def rope_backwards(original: Original, query: Tensor, key: Tensor, freqs_ci: Tensor) -> tuple[Tensor, Tensor]:
    return original(query, key, freqs_ci.conj())


# Attention. HF's function takes its scale from the module.


def _attended(original: Original, module: Any, query: Tensor, *args: Any, by: Callable[[Any], float], **kwargs: Any):
    return original(module, query * by(module), *args, **kwargs)


scale_missing = partial(_attended, by=lambda module: module.head_dim**0.5)
scale_by_model_width = partial(_attended, by=lambda module: (module.head_dim / module.config.hidden_size) ** 0.5)
scale_without_root = partial(_attended, by=lambda module: module.head_dim**-0.5)


def causal(original: Original, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
    """Patches see only themselves and what is before them."""
    later = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).triu(1)
    hidden = query.new_zeros(later.shape).masked_fill(later, torch.finfo(query.dtype).min)
    return original(module, query, key, value, hidden, **kwargs)


# Norms, feed-forward, residuals


def _layer_norm(original: Original, self: Any, x: Tensor, eps: float) -> Tensor:
    return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, eps)


layer_norm_eps_1e6 = partial(_layer_norm, eps=1e-6)
layer_norm_eps_1e4 = partial(_layer_norm, eps=1e-4)
layer_norm_eps_1e12 = partial(_layer_norm, eps=1e-12)


def layer_norm_around_zero(original: Original, self: Any, x: Tensor) -> Tensor:
    """An RMS norm: the mean is left in."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


def layer_norm_unbiased(original: Original, self: Any, x: Tensor) -> Tensor:
    """The variance is divided by one less than the width."""
    variance, mean = torch.var_mean(x, -1, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


gelu_by_tanh = partial(activated, by=partial(functional.gelu, approximate="tanh"))
gelu_by_sigmoid = partial(activated, by=lambda x: x * torch.sigmoid(1.702 * x))
silu_for_gelu = partial(activated, by=functional.silu)
relu_for_gelu = partial(activated, by=functional.relu)


def last_layer_but_one(original: Original, self: Any, *args: Any, **kwargs: Any) -> BaseModelOutput:
    """The last layer is run too, as in LLaVA."""
    states = original(self, *args, **kwargs | {"output_hidden_states": True}).hidden_states
    return BaseModelOutput(last_hidden_state=states[-2])


def _vision_layer(
    original: Original, self: Any, hidden_state: Tensor, freqs_ci: Tensor, missing: str, **kwargs: Any
) -> tuple[Tensor]:
    """HF's forward of an encoder layer without one of its residuals."""
    attended, _ = self.self_attn(self.input_layernorm(hidden_state), freqs_ci=freqs_ci, attention_mask=None)
    x = attended if missing == "attention" else hidden_state + attended
    out = self.mlp(self.post_attention_layernorm(x))
    return (out if missing == "feed-forward" else x + out,)


attention_residual_missing = partial(_vision_layer, missing="attention")
mlp_residual_missing = partial(_vision_layer, missing="feed-forward")

# Adapter, projector, merge


def _shuffled(original: Original, x: Tensor, ratio: float, order: tuple[int, ...]) -> Tensor:
    """HF's shuffle by axes: tile, rows of blocks, row in a block, columns of blocks, column in a block, channel."""
    tiles, patches, channels = x.shape
    side, block = math.isqrt(patches), round(1 / ratio)
    blocks = x.reshape(tiles, side // block, block, side // block, block, channels)
    return blocks.permute(order).reshape(tiles, (side // block) ** 2, -1)


shuffle_block_by_column = partial(_shuffled, order=(0, 1, 3, 4, 2, 5))
shuffle_channel_first = partial(_shuffled, order=(0, 1, 3, 5, 2, 4))
shuffle_blocks_by_column = partial(_shuffled, order=(0, 3, 1, 2, 4, 5))
shuffle_missing = partial(_shuffled, order=(0, 1, 2, 3, 4, 5))


def _adapter(original: Original, self: Any, x: Tensor, active: str) -> Tensor:
    x = self.fc1(x)
    x = self.fc2(self.activation_fn(x) if active == "first" else x)
    return self.activation_fn(x) if active == "last" else x


adapter_last_activation_missing = partial(_adapter, active="first")
adapter_first_activation_missing = partial(_adapter, active="last")
adapter_not_activated = partial(_adapter, active="none")


def projector_activated(original: Original, self: Any, x: Tensor) -> Tensor:
    return functional.gelu(original(self, x))


def projector_through_relu(original: Original, self: Any, x: Tensor) -> Tensor:
    return functional.relu(original(self, x))


def features_scattered_by_column(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Tokens are counted down the batch before along the sequence."""
    columns = original(self.transpose(0, 1), mask.transpose(0, 1), source)
    return columns.transpose(0, 1).contiguous()


def features_scattered_backwards(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    return original(self, mask, source.flip(0))


def features_added(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    return self + original(torch.zeros_like(self), mask, source)


def features_one_token_late(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    return original(self, mask.roll(1, dims=1), source)


def features_from_the_first(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Each row of the batch takes the features from the first on."""
    return torch.cat([original(*row, source) for row in zip(self.split(1), mask.split(1), strict=True)])


def features_from_the_second(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The last image token has the last feature again."""
    return original(self, mask, torch.cat([source[1:], source[-1:]]))


def features_left_out(original: Original, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    return self.clone()
