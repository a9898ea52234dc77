"""The multimodal model: images become tokens of the text model, which then goes on as it always does."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Integer

from jax_llama4.config_multimodal import Llama4Config
from jax_llama4.generation import Generation
from jax_llama4.heads import HoldsTextModel, Llama4ForCausalLM, Llama4TiedHead
from jax_llama4.linear import Linear
from jax_llama4.masks import MaskInfo
from jax_llama4.modes import Mode
from jax_llama4.outputs import Llama4CausalLMOutputWithPast
from jax_llama4.precision import Numerics, resolve
from jax_llama4.pretrained import Pretrained
from jax_llama4.sharding import automatic, explicit_sharding, reshard, shard
from jax_llama4.text import Llama4TextModel
from jax_llama4.vision import LAST_LAYER, Llama4VisionModel

# HF: declares the word in its forward pass and never reads it; features never have the class token.
SELECT_STRATEGY = "default"


class Llama4MultiModalProjector(nnx.Module):
    """From the width of the features to that of the text: one matrix, no bias, no activation."""

    def __init__(
        self,
        config: Llama4Config,
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        rngs: nnx.Rngs,
        numerics: Numerics | None = None,
    ):
        numerics = resolve(dtype, param_dtype, precision, numerics)
        # HF: draws it as the rest of the composite model, whose width is the text model's, and never gives it the bias
        # that `multi_modal_projector_bias` of the vision configuration speaks of.
        std = config.text_config.initializer_range
        widths = config.vision_config.vision_output_dim, config.text_config.hidden_size
        self.linear_1 = Linear(*widths, std=std, numerics=numerics, rngs=rngs)

    def __call__(self, image_features: Float[Array, "*I W"]) -> Float[Array, "*I D"]:
        return self.linear_1(image_features)


class Llama4ImageMerge(nnx.Module):
    """Put the features in the places of the image tokens, in the order of the rows and of the tokens in each.

    HF: scatters inside its forward pass; a module gives the result an address.
    """

    def __call__(
        self, inputs_embeds: Float[Array, "B T D"], image_features: Float[Array, "F D"], image_mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """The embeddings with the n-th true place of `image_mask` replaced by the n-th feature.

        A number of places other than F is a ValueError where the values are known. Inside a compiled program they are
        not, and nothing can be raised: everything is NaN then.
        """
        rows = image_features.shape[0]
        if not isinstance(image_mask, Tracer):
            require_fit(int(jnp.sum(image_mask)), rows)
        image_mask = reshard(image_mask, None, None)  # counted over all rows
        order = jnp.cumsum(image_mask.reshape(-1), dtype=int).reshape(image_mask.shape)
        split = explicit_sharding(inputs_embeds.shape, "batch", "length", "embed")
        features = image_features.astype(inputs_embeds.dtype)
        placed = automatic(lambda features, at: features[at], split, features, jnp.clip(order - 1, 0, rows - 1))
        merged = jnp.where(image_mask[..., None], placed, inputs_embeds)
        fits = order[-1, -1] == rows
        return jnp.where(fits, merged, jnp.full_like(merged, jnp.nan))


def require_fit(tokens: int, features: int) -> None:
    """Raise ValueError with both numbers where image tokens and feature vectors are not as many.

    HF: compares the totals of the batch, as this does: a row with too many passes where another has too few.
    """
    if tokens != features:
        raise ValueError(f"image tokens and image features do not match: {tokens} tokens, {features} features")


def _check_strategy(strategy: str) -> None:
    if strategy != SELECT_STRATEGY:
        raise ValueError(
            f"vision_feature_select_strategy: expected {SELECT_STRATEGY!r}, got {strategy!r}; with the class token the "
            "patches make no square for the adapter"
        )


class Llama4ForConditionalGeneration(Generation, HoldsTextModel, Pretrained, nnx.Module):
    """Vision tower, projector and causal language model.

    `stack_options` are those of `Llama4TextModel`; `scan_layers` and `remat_policy` hold for the vision tower as well.
    Prompts have one image token for each feature vector, `config.vision_config.tokens_per_tile` of them a tile.
    """

    config_class = Llama4Config
    checkpoint_root = ""
    loss_type = "ForCausalLM"
    _task_type = "image-text-to-text"
    _model_type = "llama4"
    _supports_video = True  # as frames: each is a tile, or several, like any image
    _uses_mrope = False

    def __init__(
        self,
        config: Llama4Config,
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
        vision_options = {name: value for name, value in stack_options.items() if name != "moe_dispatch"}
        self.vision_model = Llama4VisionModel(config.vision_config, numerics=numerics, rngs=rngs, **vision_options)
        self.multi_modal_projector = Llama4MultiModalProjector(config, numerics=numerics, rngs=rngs)
        self.image_merge = Llama4ImageMerge()
        self.language_model = Llama4ForCausalLM(config.text_config, numerics=numerics, rngs=rngs, **stack_options)

    def __call__(
        self,
        input_ids: Int[Array, "B T"] | None = None,
        pixel_values: Float[Array, "I C h w"] | None = None,
        attention_mask: Bool[Array, "B S"] | Integer[Array, "B S"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        labels: Int[Array, "B T"] | None = None,
        inputs_embeds: Float[Array, "B T D"] | None = None,
        *,
        image_features: Float[Array, "I L W"] | None = None,
        vision_feature_layer: int = LAST_LAYER,
        vision_feature_select_strategy: str = SELECT_STRATEGY,
        mask_info: MaskInfo | None = None,
        mode: Mode | None = None,
        past_key_values: Any = None,
        cache_metadata: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        output_router_logits: bool | None = None,
        apply_lm_head: bool = True,
        logits_to_keep: int = 0,
    ) -> Llama4CausalLMOutputWithPast:
        """Logits and, given `labels`, the loss, as `Llama4ForCausalLM`; image places count unless labels are -100.

        `pixel_values` are the tiles of all images of the batch in the order of the rows, those of an image as its
        processor gives them. `image_features` are what `get_image_features` made of them earlier. Without either, image
        tokens are embedded like any other. HF: the same; it takes features as `mm_encoder_outputs`.
        With `inputs_embeds`, image places are those that hold the embedding of the image token, so pixels, which HF
        refuses there, are refused here too.
        `vision_feature_layer` is the `feature_layer` of `Llama4VisionModel`; HF and EasyDeL compute with the last one
        whatever they are told, which is the default. The one select strategy is `default`, without the class token.
        Raises ValueError for what does not fit, see `Llama4ImageMerge` for the number of image tokens, and as
        `Llama4TextModel`.
        """
        _check_strategy(vision_feature_select_strategy)
        if pixel_values is not None:
            if inputs_embeds is not None or image_features is not None:
                other = "inputs_embeds" if inputs_embeds is not None else "image_features"
                raise ValueError(
                    f"pixel_values: given beside {other}; give image_features of get_image_features instead"
                )
            image_features = self.get_image_features(pixel_values, vision_feature_layer)
        elif vision_feature_layer != LAST_LAYER:
            raise ValueError(f"vision_feature_layer: {vision_feature_layer} asked for without pixel_values to encode")
        embeds = self.language_model.model.embed(input_ids, inputs_embeds)
        if image_features is not None:
            self._check_features(image_features)
            projected = reshard(self.project_image_features(image_features), "batch", None, "embed")
            embeds = self.image_merge(
                embeds, projected.reshape(-1, projected.shape[-1]), self._image_mask(input_ids, embeds)
            )
        outputs = self.language_model(
            None,
            attention_mask,
            position_ids,
            labels,
            embeds,
            mask_info=mask_info,
            mode=mode,
            past_key_values=past_key_values,
            cache_metadata=cache_metadata,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_router_logits=output_router_logits,
            apply_lm_head=apply_lm_head,
            logits_to_keep=logits_to_keep,
        )
        return outputs.replace(image_hidden_states=image_features)

    def get_image_features(
        self,
        pixel_values: Float[Array, "I C h w"],
        vision_feature_layer: int = LAST_LAYER,
        vision_feature_select_strategy: str = SELECT_STRATEGY,
    ) -> Float[Array, "I L W"]:
        """Features as the vision tower gives them, before the projector: HF's numbers, and those of EasyDeL's code.

        EasyDeL's documentation speaks of projected ones: these are `project_image_features` of the result.
        """
        _check_strategy(vision_feature_select_strategy)
        return self.vision_model(pixel_values, feature_layer=vision_feature_layer).last_hidden_state

    def project_image_features(self, image_features: Float[Array, "I L W"]) -> Float[Array, "I L D"]:
        """Features in the width of the text, as they take the places of image tokens."""
        return shard(self.multi_modal_projector(image_features), "batch", "length", "embed")

    def _check_features(self, image_features: Array) -> None:
        vision = self.config.vision_config
        tile = (vision.tokens_per_tile, vision.vision_output_dim)
        shape, dtype = image_features.shape, image_features.dtype
        if len(shape) != 3 or shape[0] == 0 or shape[1:] != tile or not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"image_features: expected a non-empty floating (tiles, {tile[0]}, {tile[1]}), got {shape} of {dtype}"
            )

    def _image_mask(self, input_ids: Array | None, embeds: Array) -> Bool[Array, "B T"]:
        token = self.config.image_token_index
        if input_ids is not None:
            return input_ids == token
        # HF: the same comparison of embeddings, so the place of an equal vector is taken for an image's.
        embedding = self.language_model.model.embed(jnp.full((1, 1), token))
        return jnp.all(embeds == embedding, axis=-1)

    def prepare_inputs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]: EasyDeL's own order
        self,
        input_ids: Int[Array, "B T"],
        max_length: int,
        pad_token_id: int | None = None,
        starts: int | Int[Array, "B"] | None = None,
        pixel_values: Float[Array, "I C h w"] | None = None,
        attention_mask: Array | None = None,
        *,
        image_features: Float[Array, "I L W"] | None = None,
        shardings: Any = None,
    ) -> dict[str, Any]:
        """As for `Llama4ForCausalLM`, and the pixels, or their features, for the first call."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, max_length, pad_token_id, starts, shardings, attention_mask
        )
        images = {"pixel_values": pixel_values, "image_features": image_features}
        return inputs | {name: value for name, value in images.items() if value is not None}

    def update_inputs_for_generation(self, model_outputs: Any, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        """As for `Llama4ForCausalLM`; what images are is in the cache after the first call and is left out."""
        kept = super().update_inputs_for_generation(model_outputs, model_kwargs)
        return {name: value for name, value in kept.items() if name not in ("pixel_values", "image_features")}

    def check_images(self, input_ids: Any, pixel_values: Any = None, image_features: Any = None) -> None:
        """Raise ValueError where one of the two does not fit the configuration or the image tokens of the prompts."""
        if (pixel_values is None) == (image_features is None):
            raise ValueError("expected one of pixel_values and image_features")
        if image_features is None:
            self.vision_model.check(pixel_values)
        else:
            self._check_features(image_features)
        tiles = pixel_values if image_features is None else image_features
        tokens = int((input_ids == self.config.image_token_index).sum())
        require_fit(tokens, tiles.shape[0] * self.config.vision_config.tokens_per_tile)

    def get_encoder(self) -> Llama4VisionModel:
        return self.vision_model

    def get_decoder(self) -> Llama4TextModel:
        return self.language_model.get_decoder()

    def get_lm_head(self) -> Linear | Llama4TiedHead:
        return self.language_model.get_lm_head()
