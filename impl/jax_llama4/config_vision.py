"""The vision configuration: HF's field names and defaults, and the sizes that follow from them."""

import dataclasses

from jax_llama4.config_base import HalfConfig, is_int, wrong_flags, wrong_positive_ints, wrong_reals
from jax_llama4.config_keys import VISION_IRRELEVANT
from jax_llama4.config_rope import complete_rope

THETA = 10000.0

_POSITIVE_INTS = (
    "hidden_size num_hidden_layers num_attention_heads num_channels intermediate_size vision_output_dim "
    "image_size patch_size projector_input_dim projector_output_dim"
).split()
_REALS = "initializer_range pixel_shuffle_ratio norm_eps projector_dropout attention_dropout".split()


def joined_patches(pixel_shuffle_ratio: float) -> int:
    """Patches along one side of the blocks that the adapter makes tokens of; raises ValueError where there is none."""
    ratio = pixel_shuffle_ratio
    # HF: multiplies and divides by the ratio and rounds down, which 1/49 as a float does not survive.
    if not 0 < ratio <= 1 or not (1 / ratio).is_integer():
        raise ValueError(f"pixel_shuffle_ratio: expected 1 over a positive int, got {ratio!r}")
    return round(1 / ratio)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama4VisionConfig(HalfConfig):
    """Sizes of a Llama 4 vision tower and its adapter.

    A value is hashable. Raises ConfigError with every problem at once; so do the defaults alone, which are HF's and
    contradict one another. An `image_size` between two multiples of `patch_size` is cropped to the lower one, as in HF.
    Source: HF `Llama4VisionConfig`.
    """

    model_type = "llama4_vision_model"
    half = "vision"
    irrelevant = VISION_IRRELEVANT

    hidden_size: int = 768
    hidden_act: str = "gelu"
    num_hidden_layers: int = 34
    num_attention_heads: int = 16
    num_channels: int = 3
    intermediate_size: int = 5632
    vision_output_dim: int = 7680  # read by the multimodal projector alone
    image_size: int = 448
    patch_size: int = 14
    initializer_range: float = 0.02
    pixel_shuffle_ratio: float = 0.5
    projector_input_dim: int = 4096
    projector_output_dim: int = 4096
    # As in the text model, weights are never dropped out.
    projector_dropout: float = 0.0
    attention_dropout: float = 0.0
    # HF: reads none of these. LayerNorms take 1e-5, features are the last layer's, the projector has no bias.
    norm_eps: float = 1e-5
    vision_feature_layer: int = -1
    vision_feature_select_strategy: str = "default"
    multi_modal_projector_bias: bool = False

    @property
    def head_dim(self) -> int:
        # HF: rounds down, so that all heads together may be narrower than `hidden_size`.
        return self.hidden_size // self.num_attention_heads

    @property
    def patches_per_side(self) -> int:
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches of one tile, without the class token."""
        return self.patches_per_side**2

    @property
    def tokens_per_tile(self) -> int:
        """Feature vectors that the adapter makes of one tile."""
        return (self.patches_per_side // joined_patches(self.pixel_shuffle_ratio)) ** 2

    def __post_init__(self):
        problems: list[str] = []
        self._set(rope_parameters=complete_rope(self.rope_parameters, problems, default_theta=THETA))
        for name in ("image_size", "patch_size"):
            sides = getattr(self, name)
            # HF: declares lists, and fails on every one of them.
            if isinstance(sides, list | tuple) and len(sides) == 2 and sides[0] == sides[1]:
                self._set(**{name: sides[0]})
        wrong = wrong_positive_ints(self, _POSITIVE_INTS) + wrong_reals(self, _REALS)
        problems += wrong or self._wrong_sizes()
        problems += wrong_flags(self, ["multi_modal_projector_bias"])
        if not is_int(self.vision_feature_layer):
            problems.append(f"vision_feature_layer: expected an int, got {self.vision_feature_layer!r}")
        if not isinstance(self.vision_feature_select_strategy, str):
            problems.append(
                f"vision_feature_select_strategy: expected a word, got {self.vision_feature_select_strategy!r}"
            )
        # HF: computes the erf gelu whatever this says.
        if self.hidden_act != "gelu":
            problems.append(f"hidden_act: expected 'gelu', got {self.hidden_act!r}")
        self._refuse(problems)

    def _wrong_sizes(self) -> list[str]:
        problems: list[str] = []
        if self.head_dim < 4 or self.head_dim % 4:
            problems.append(
                f"num_attention_heads: {self.num_attention_heads} heads of hidden_size, {self.hidden_size}, are "
                f"{self.head_dim} wide, but rope rotates pairs along two sides, so a multiple of 4 is expected"
            )
        if self.projector_input_dim != self.projector_output_dim:
            problems.append(
                f"projector_input_dim: {self.projector_input_dim} is not projector_output_dim, "
                f"{self.projector_output_dim}, but the adapter's last matrix takes the one and is made for the other"
            )
        if self.image_size < self.patch_size:
            problems.append(f"image_size: {self.image_size} is less than patch_size, {self.patch_size}")
        try:
            joined = joined_patches(self.pixel_shuffle_ratio)
        except ValueError as error:
            return [*problems, str(error)]
        if self.patches_per_side % joined:
            problems.append(
                f"pixel_shuffle_ratio: joins {joined} patches a side, which do not divide the "
                f"{self.patches_per_side} of an image, image_size // patch_size"
            )
        if self.intermediate_size != self.hidden_size * joined**2:
            problems.append(
                f"intermediate_size: {self.intermediate_size} is not {self.hidden_size * joined**2}, "
                f"hidden_size / pixel_shuffle_ratio², which the adapter gets"
            )
        return problems
