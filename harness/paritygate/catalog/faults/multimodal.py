"""Faults of what joins pictures and text: projector and merge."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_TILES, _MIXED = "vision/tiny-vision.tiles", "vision/tiny-multimodal.mixed"
_MERGE = "jax_llama4.multimodal:Llama4ImageMerge.__call__"
_MODEL = "jax_llama4.multimodal:Llama4ForConditionalGeneration"
_PLACED = "jnp.where(image_mask[..., None], placed, inputs_embeds)"
_COUNTED = "jnp.cumsum(image_mask.reshape(-1), dtype=int).reshape(image_mask.shape)"
_AT = ("merge:out",)

GROUP = FaultGroup(
    name="multimodal",
    family="llama4-multimodal",
    faults=(
        Fault(
            "features-column-by-column",
            "semantic",
            (
                Patch(
                    _MERGE,
                    _COUNTED,
                    "jnp.cumsum(image_mask.T.reshape(-1), dtype=int).reshape(image_mask.T.shape).T",
                ),
            ),
            _TILES,
            _AT,
            hypothesis="features column by column",
        ),
        Fault(
            "features-shifted-by-one",
            "semantic",
            (Patch(_MERGE, "jnp.clip(order - 1, 0, rows - 1)", "jnp.clip(order, 0, rows - 1)"),),
            _TILES,
            _AT,
            hypothesis="features one feature early",
        ),
        Fault(
            "features-from-the-first-in-every-row",
            "semantic",
            (Patch(_MERGE, "jnp.clip(order - 1, 0, rows - 1)", "jnp.cumsum(image_mask, axis=1) - 1"),),
            _TILES,
            _AT,
            doc="right for a batch of one",
            hypothesis="features from the first in every row",
        ),
        Fault(
            "features-added-to-the-token",
            "semantic",
            (Patch(_MERGE, _PLACED, "jnp.where(image_mask[..., None], placed + inputs_embeds, inputs_embeds)"),),
            _TILES,
            _AT,
            hypothesis="features added",
        ),
        Fault(
            "image-token-of-another-kind",
            "semantic",
            (Patch(f"{_MODEL}._image_mask", "input_ids == token", "input_ids == self.config.boi_token_index"),),
            _MIXED,
            _AT,
            doc="the token that opens an image taken for the one that stands for a patch; the numbers do not fit",
        ),
        Fault(
            "projector-with-activation",
            "semantic",
            (
                Patch(
                    "jax_llama4.multimodal:Llama4MultiModalProjector.__call__",
                    "self.linear_1(image_features)",
                    "jnp.maximum(self.linear_1(image_features), 0)",
                ),
            ),
            _TILES,
            ("projector:out",),
            hypothesis="projector through relu",
        ),
        Fault(
            "features-scattered",
            "harmless",
            (
                Patch(
                    _MERGE,
                    f"merged = {_PLACED}",
                    "places = jnp.nonzero(image_mask.reshape(-1), size=rows)[0]\n"
                    "    flat = inputs_embeds.reshape(-1, inputs_embeds.shape[-1])\n"
                    "    merged = flat.at[places].set(image_features.astype(flat.dtype)).reshape(inputs_embeds.shape)",
                ),
            ),
            _MIXED,
        ),
    ),
    doc="projector and merge",
)
