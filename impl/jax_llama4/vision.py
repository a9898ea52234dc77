"""The vision tower: tiles of pixels to patches, encoder, and the adapter that makes fewer and wider tokens of them."""

import functools
import math
from typing import Any, NoReturn

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jax_llama4.config_base import is_int
from jax_llama4.config_vision import Llama4VisionConfig, joined_patches
from jax_llama4.linear import Linear, normal_init
from jax_llama4.mlp import GELUActivation
from jax_llama4.norms import Llama4VisionLayerNorm
from jax_llama4.outputs import BaseModelOutput
from jax_llama4.precision import Numerics, resolve
from jax_llama4.pretrained import Pretrained
from jax_llama4.rope import Llama4VisionRotaryEmbedding
from jax_llama4.sharding import beside, explicit_sharding, reshard, shard
from jax_llama4.taps import Tap
from jax_llama4.vision_encoder import Llama4VisionEncoder

LAST_LAYER = -1


def pixel_shuffle(input_tensor: Float[Array, "I P D"], shuffle_ratio: float) -> Float[Array, "I L W"]:
    """Rearrange a square of patches, row by row, into one of blocks: L = P · ratio², W = D / ratio².

    With q = 1 / ratio, token (Y, X) holds the q × q patches of its block, row by row, each with its D channels. The
    pixel-unshuffle of convolutions has the channels outermost instead. Source: HF `pixel_shuffle`.
    Raises ValueError where the patches make no square, or the square no blocks, or the ratio is not 1 over an int.
    """
    _, patches, channels = input_tensor.shape
    side, block = math.isqrt(patches), joined_patches(shuffle_ratio)
    if side * side != patches or side % block:
        raise ValueError(f"pixel_shuffle: expected a square of patches whose side {block} divides, got {patches}")
    blocks = _by_tile(input_tensor, side // block, block, side // block, block, channels)
    return _by_tile(blocks.transpose(0, 1, 3, 2, 4, 5), (side // block) ** 2, block * block * channels)


def _by_tile(x: Float[Array, "I ..."], *shape: int) -> Float[Array, "I ..."]:
    """Each tile in another shape, whole on its device under Explicit axes."""
    x = reshard(x, "batch", *(None,) * (x.ndim - 1))
    split = explicit_sharding((x.shape[0], *shape), "batch", *(None,) * len(shape))
    return x.reshape(x.shape[0], *shape, out_sharding=split)


class Llama4UnfoldConvolution(nnx.Module):
    """Cut each tile into patches and project them to D: a convolution whose stride is its kernel size."""

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
        self.patch_size = config.patch_size
        values = config.num_channels * config.patch_size**2
        self.linear = Linear(values, config.hidden_size, std=config.initializer_range, numerics=numerics, rngs=rngs)

    def __call__(self, hidden_states: Float[Array, "I C h w"]) -> Float[Array, "I P D"]:
        """Patches row by row. HF: the values of a patch are ordered by channel, then row, then column."""
        _, channels, *pixels = hidden_states.shape
        patch = self.patch_size
        rows, columns = (size // patch for size in pixels)
        # HF: what does not fill a patch, at the bottom and on the right, is cut off without a word.
        whole = hidden_states[:, :, : rows * patch, : columns * patch]
        patches = _by_tile(whole, channels, rows, patch, columns, patch).transpose(0, 2, 4, 1, 3, 5)
        return self.linear(_by_tile(patches, rows * columns, channels * patch * patch))


class Llama4VisionMLP2(nnx.Module):
    """gelu(fc2(gelu(fc1(x)))) without biases. HF: activates after the second product too."""

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
        project = functools.partial(Linear, std=config.initializer_range, numerics=numerics, rngs=rngs)
        self.fc1 = project(config.intermediate_size, config.projector_input_dim)
        self.fc2 = project(config.projector_output_dim, config.projector_output_dim)
        self.activation_fn = GELUActivation(numerics)

    def __call__(self, hidden_states: Float[Array, "I L W"]) -> Float[Array, "I L O"]:
        hidden = shard(self.activation_fn(self.fc1(hidden_states)), "batch", "length", "mlp")
        return shard(self.activation_fn(self.fc2(hidden)), "batch", "length", "embed")


class Llama4VisionPixelShuffleMLP(nnx.Module):
    """The adapter: `pixel_shuffle`, then `Llama4VisionMLP2`."""

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
        self.pixel_shuffle_ratio = config.pixel_shuffle_ratio
        self.mlp = Llama4VisionMLP2(config, numerics=numerics, rngs=rngs)
        self.tap_shuffle = Tap()

    def __call__(self, encoded_patches: Float[Array, "I P D"]) -> Float[Array, "I L O"]:
        return self.mlp(self.tap_shuffle(pixel_shuffle(encoded_patches, self.pixel_shuffle_ratio)))


class Llama4VisionModel(Pretrained, nnx.Module):
    """Tiles of an image to the features that a projector takes to the width of the text.

    `remat_policy` and `scan_layers` are those of `Llama4TextModel`.
    """

    config_class = Llama4VisionConfig
    checkpoint_root = "vision_model."

    def __init__(
        self,
        config: Llama4VisionConfig,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
        **stack_options: Any,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        numerics.require_available()
        self.require_config(config)
        self.config = config
        self.numerics = numerics
        width = config.hidden_size
        draw = normal_init(width**-0.5)  # HF: these two, unlike the matrices
        self.patch_embedding = Llama4UnfoldConvolution(config, numerics=numerics, rngs=rngs)
        self.class_embedding = nnx.Param(draw(rngs.params(), (width,), numerics.param))
        self.positional_embedding_vlm = nnx.Param(draw(rngs.params(), (config.num_patches + 1, width), numerics.param))
        self.rotary_embedding = Llama4VisionRotaryEmbedding(config, numerics)
        self.tap_tokens = Tap()
        self.layernorm_pre = Llama4VisionLayerNorm(width, numerics=numerics)
        self.layernorm_post = Llama4VisionLayerNorm(width, numerics=numerics)
        self.model = Llama4VisionEncoder(config, numerics=numerics, rngs=rngs, **stack_options)
        self.vision_adapter = Llama4VisionPixelShuffleMLP(config, numerics=numerics, rngs=rngs)

    def __call__(
        self,
        pixel_values: Float[Array, "I C h w"],
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        *,
        feature_layer: int = LAST_LAYER,
    ) -> BaseModelOutput:
        """Features of each tile after the adapter and before the multimodal projector; no pooled output.

        `feature_layer` counts like an index into the `hidden_states`: the features are made of what leaves that layer.
        HF: always the last one, whatever the configuration says of a feature layer.
        Raises ValueError for pixels that do not fit the configuration.
        """
        self.check(pixel_values)
        layers = self.config.num_hidden_layers
        if not is_int(feature_layer) or not -layers - 1 <= feature_layer <= layers:
            raise ValueError(f"feature_layer: expected a number from {-layers - 1} to {layers}, got {feature_layer!r}")
        patches = self.patch_embedding(pixel_values.astype(self.numerics.compute))
        tokens = self.tap_tokens(self._tokens(patches))
        whole_stack = feature_layer in (LAST_LAYER, layers)
        encoded = self.model(
            shard(self.layernorm_pre(tokens).astype(self.numerics.residual), "batch", "length", "embed"),
            self.rotary_embedding(),
            output_attentions,
            output_hidden_states or not whole_stack,
        )
        features = encoded.last_hidden_state
        if not whole_stack:
            assert encoded.hidden_states is not None
            features = encoded.hidden_states[feature_layer]
        # HF: the class token goes after the norm; it is the last one.
        features = reshard(features, "batch", None, "embed")
        features = self.vision_adapter(self.layernorm_post(features)[:, :-1])
        return BaseModelOutput(
            last_hidden_state=features,
            hidden_states=encoded.hidden_states if output_hidden_states else None,
            attentions=encoded.attentions,
        )

    def _tokens(self, patches: Float[Array, "I P D"]) -> Float[Array, "I P+1 D"]:
        compute = self.numerics.compute
        tiles, _, width = patches.shape
        class_token = jnp.broadcast_to(self.class_embedding[...].astype(compute), (tiles, 1, width))
        patches, class_token = (reshard(x, "batch", None, "embed") for x in (patches, class_token))
        # HF: the class token comes last, and so does its row of the positions.
        tokens = jnp.concatenate([patches, class_token], axis=1)
        return tokens + beside(self.positional_embedding_vlm[...].astype(compute), tokens)

    def check(self, pixel_values: Any) -> None:
        """Raise ValueError where the shape or the kind of the pixels does not fit the configuration."""
        config, shape = self.config, getattr(pixel_values, "shape", None)
        if shape is None:
            raise ValueError(f"pixel_values: expected an array, got {type(pixel_values).__name__}")
        tile = (config.num_channels, config.image_size, config.image_size)
        if len(shape) == 5:
            raise ValueError(
                f"pixel_values: expected tiles (tiles, {', '.join(map(str, tile))}), got {shape}; several images, or "
                "the frames of a video, are tiles one after another: reshape to one leading axis"
            )
        # HF: takes a rectangle too where it has as many patches as the square, with the positions of the square.
        if len(shape) != 4 or shape[1:] != tile or shape[0] == 0:
            raise ValueError(f"pixel_values: expected a non-empty (tiles, {', '.join(map(str, tile))}), got {shape}")
        if not jnp.issubdtype(pixel_values.dtype, jnp.floating):
            raise ValueError(
                f"pixel_values: expected floating values, rescaled and normalized, got {pixel_values.dtype}"
            )

    def get_encoder(self) -> "Llama4VisionModel":
        return self

    def get_decoder(self) -> NoReturn:
        raise NotImplementedError("Llama4VisionModel is encoder-only: it has no decoder")

    def get_lm_head(self) -> NoReturn:
        raise NotImplementedError("Llama4VisionModel has no head: Llama4ForConditionalGeneration has one")

    def get_embedding(self) -> Llama4UnfoldConvolution:
        return self.patch_embedding
