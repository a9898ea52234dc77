"""Known ways to get Llama 4's vision tower and its merge with the text wrong, as in `llama4_text_hypotheses`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paritygate.catalog.families.llama4_attention_hypotheses import HF, rows
from paritygate.catalog.families.llama4_text_hypotheses import TEXT_HYPOTHESES
from paritygate.core.family import PIXELS
from paritygate.core.hypothesis import Hypothesis

_OURS = "paritygate.reference.llama4_vision_hypotheses:"
_PATCHES = ("vision.patches",)
_TOKENS = ("vision.tokens",)
_ROPE = ("vision.rope",)
_ATTENTION = ("vision.layers.*.attn",)
_NORM = ("vision.*norm",)
_MLP = ("vision.layers.*.mlp",)
_ADAPTER = ("vision.adapter",)
_ADAPTER_MLP = ("vision.adapter.mlp",)
_LANGUAGE = "language_model."


def _of_text(row: Hypothesis) -> Hypothesis:
    """A row of the text model where this model has it."""

    def below(changes: Mapping[str, Any]) -> dict[str, Any]:
        return {f"text_config.{path}": change for path, change in changes.items()}

    whole = {HF + "Llama4ForCausalLM.forward": HF + "Llama4ForConditionalGeneration.forward"}
    return replace(
        row,
        needs=below(row.needs),
        config=below(row.config),
        scaled=below(row.scaled),
        shifted=below(row.shifted),
        weights={_LANGUAGE + pattern: change for pattern, change in row.weights.items()},
        exchanged=tuple((_LANGUAGE + pattern, part, other) for pattern, part, other in row.exchanged),
        copied={_LANGUAGE + name: _LANGUAGE + source for name, source in row.copied.items()},
        functions={whole.get(name, name): by for name, by in row.functions.items()},
    )


_TILES = (
    *rows(
        HF + "Llama4UnfoldConvolution.forward",
        _PATCHES,
        ("patches column by column", "counts patches down the columns", _OURS + "patches_by_column"),
        ("patch with channels last", "has a patch's channels innermost", _OURS + "patch_channel_last"),
        ("patch column by column", "reads a patch's pixels down the columns", _OURS + "patch_by_column"),
    ),
    *(
        Hypothesis(f"{what} in reverse", f"is given {says}", _PATCHES, reversed={PIXELS: axis})
        for axis, (what, says) in enumerate(
            (
                ("tiles", "the tiles in the reverse order"),
                ("channels", "blue, green, red"),
                ("pixel rows", "the pictures upside down"),
                ("pixel columns", "the pictures mirrored"),
            )
        )
    ),
    *rows(
        HF + "Llama4VisionModel.forward",
        _TOKENS,
        ("class token first", "puts the class token before the patches", _OURS + "class_token_first"),
        ("class token first and dropped", "has it first throughout", _OURS + "class_token_first_and_dropped"),
    ),
    *rows(
        HF + "Llama4VisionModel.forward",
        ("vision", "vision.adapter"),
        ("first patch dropped", "drops the first patch, not the class token", _OURS + "first_patch_dropped"),
    ),
)

_TABLE = (
    *rows(
        HF + "Llama4VisionRotaryEmbedding._compute_freqs_ci",
        _ROPE,
        ("vision rope axes swapped", "turns the first pairs with the row", _OURS + "rope_axes_swapped"),
        ("vision rope of columns only", "turns all pairs with the column", _OURS + "rope_of_columns_only"),
        ("vision rope axes alternate", "turns pairs with column and row in turn", _OURS + "rope_axes_alternate"),
        ("vision rope from 0", "counts rows and columns from 0, not from 1", _OURS + "rope_from_0"),
        ("vision rope from 2", "counts rows and columns from 2, not from 1", _OURS + "rope_from_2"),
        ("vision rope class first", "has the class token's angles first", _OURS + "rope_class_first"),
        ("vision rope turns the class token", "turns it as the first patch", _OURS + "rope_turns_class"),
        ("vision rope by the whole head", "spaces frequencies over a whole head", _OURS + "rope_by_whole_head"),
    ),
    *(
        Hypothesis(
            f"vision rope theta {words}",
            f"has a vision rope base {words}",
            _ROPE,
            scaled={"vision_config.rope_parameters.rope_theta": by},
        )
        for words, by in (("× 2", 2.0), ("÷ 2", 0.5), ("× 10", 10.0), ("÷ 10", 0.1), ("× 50", 50.0))
    ),
)

_HEADS = (
    *rows(
        HF + "vision_apply_rotary_emb",
        _ATTENTION,
        ("vision rope by halves", "rotates halves of a head in the tower, not pairs", _OURS + "rope_by_halves"),
        ("vision rope missing", "does not rotate in the tower", _OURS + "rope_missing"),
        ("vision rope backwards", "rotates the other way round in the tower", _OURS + "rope_backwards"),
    ),
    *rows(
        HF + "vision_eager_attention_forward",
        _ATTENTION,
        ("vision score scale missing", "does not scale the tower's scores", _OURS + "scale_missing"),
        ("vision score scale by model width", "scales them by the tower's width", _OURS + "scale_by_model_width"),
        ("vision score scale without root", "divides them by a head's width", _OURS + "scale_without_root"),
        ("vision attention causal", "lets a patch see no later one", _OURS + "causal"),
    ),
    Hypothesis(
        "vision queries and keys exchanged",
        "has the tower's weights of queries and keys in each other's place",
        _ATTENTION,
        exchanged=(("vision_model.*", ".q_proj.", ".k_proj."),),
    ),
    Hypothesis(
        "vision keys and values exchanged",
        "has the tower's weights of keys and values in each other's place",
        _ATTENTION,
        exchanged=(("vision_model.*", ".k_proj.", ".v_proj."),),
    ),
)

_NORMS = (
    *rows(
        "torch.nn:LayerNorm.forward",
        _NORM,
        ("layer norm eps 1e-4", "has a layer norm eps of 1e-4", _OURS + "layer_norm_eps_1e4"),
        ("layer norm eps 1e-6", "has a layer norm eps of 1e-6", _OURS + "layer_norm_eps_1e6"),
        ("layer norm eps 1e-12", "has a layer norm eps of 1e-12", _OURS + "layer_norm_eps_1e12"),
        ("layer norm around zero", "does not take the mean off before it norms", _OURS + "layer_norm_around_zero"),
        ("layer norm unbiased", "divides the variance by one less than the width", _OURS + "layer_norm_unbiased"),
    ),
    *rows(
        HF + "Llama4VisionModel.forward",
        _NORM,
        ("pre norm missing", "does not norm before the encoder", _OURS + "pre_norm_missing"),
        ("post norm missing", "does not norm after the encoder", _OURS + "post_norm_missing"),
    ),
    Hypothesis(
        "pre and post norm exchanged",
        "has the weights of the tower's first and last norm in each other's place",
        _NORM,
        exchanged=(("vision_model.*", ".layernorm_pre.", ".layernorm_post."),),
    ),
    Hypothesis(
        "vision norms exchanged",
        "has the weights of an encoder layer's two norms in each other's place",
        ("vision.layers.*norm",),
        exchanged=(("vision_model.*", ".input_layernorm.", ".post_attention_layernorm."),),
    ),
)

_BLOCKS = (
    *rows(
        HF + "Llama4VisionEncoder.forward",
        ("vision", "vision.post_norm"),
        ("last vision layer but one", "takes the features of the last layer but one", _OURS + "last_layer_but_one"),
    ),
    *rows(
        "torch.nn:GELU.forward",
        (*_MLP, *_ADAPTER_MLP),
        ("gelu by tanh", "approximates gelu by tanh", _OURS + "gelu_by_tanh"),
        ("gelu by sigmoid", "approximates gelu by a sigmoid", _OURS + "gelu_by_sigmoid"),
        ("silu for gelu", "activates the tower by silu", _OURS + "silu_for_gelu"),
        ("relu for gelu", "activates the tower by relu", _OURS + "relu_for_gelu"),
    ),
    *rows(
        HF + "Llama4VisionEncoderLayer.forward",
        ("vision.layers.*",),
        ("vision attention residual missing", "leaves it out in the tower", _OURS + "attention_residual_missing"),
        ("vision feed-forward residual missing", "leaves it out in the tower", _OURS + "mlp_residual_missing"),
    ),
    *rows(
        HF + "pixel_shuffle",
        _ADAPTER,
        ("block column by column", "reads a block's patches down the columns", _OURS + "shuffle_block_by_column"),
        ("block with channels first", "has a block's channels outermost", _OURS + "shuffle_channel_first"),
        ("blocks column by column", "counts blocks down the columns", _OURS + "shuffle_blocks_by_column"),
        ("blocks not made", "joins patches that follow each other", _OURS + "shuffle_missing"),
    ),
    *rows(
        HF + "Llama4VisionMLP2.forward",
        _ADAPTER_MLP,
        ("adapter's last activation missing", "leaves it out", _OURS + "adapter_last_activation_missing"),
        ("adapter's first activation missing", "leaves it out", _OURS + "adapter_first_activation_missing"),
        ("adapter not activated", "does not activate in the adapter", _OURS + "adapter_not_activated"),
    ),
    *rows(
        HF + "Llama4MultiModalProjector.forward",
        ("projector",),
        ("projector through relu", "activates after the projector by relu", _OURS + "projector_through_relu"),
        ("projector activated", "activates after the projector", _OURS + "projector_activated"),
    ),
    *rows(
        "torch:Tensor.masked_scatter",
        ("merge",),
        ("features column by column", "fills image tokens down the batch", _OURS + "features_scattered_by_column"),
        ("features in reverse", "fills image tokens from the last on", _OURS + "features_scattered_backwards"),
        ("features added", "adds features to the image tokens' embeddings", _OURS + "features_added"),
        ("features one token late", "fills the token after each image token", _OURS + "features_one_token_late"),
        ("features from the first in every row", "begins anew in each row", _OURS + "features_from_the_first"),
        ("features one feature early", "leaves out the first feature", _OURS + "features_from_the_second"),
        ("features left out", "leaves the image tokens' own embeddings", _OURS + "features_left_out"),
    ),
)

_RESHAPED = "reshapes where it has to transpose"
_WEIGHTS = tuple(
    Hypothesis(name, says, sites, weights={pattern: change})
    for name, says, sites, pattern, change in (
        ("class token missing", "has a class token of zeros", _TOKENS, "*.class_embedding", "zero"),
        ("patch positions missing", "adds no positions", _TOKENS, "*.positional_embedding_vlm", "zero"),
        (
            "patch positions last first",
            "has the class token's first",
            _TOKENS,
            "*.positional_embedding_vlm",
            "last first",
        ),
        ("patch positions in reverse", "adds them in reverse", _TOKENS, "*.positional_embedding_vlm", "reverse"),
        ("vision attention biases missing", "leaves them out", _ATTENTION, "vision_model.*_proj.bias", "zero"),
        ("vision feed-forward biases missing", "leaves them out", _MLP, "vision_model.*.fc?.bias", "zero"),
        ("layer norm biases missing", "leaves out the layer norms' biases", _NORM, "vision_model.*norm*.bias", "zero"),
        ("layer norm gains missing", "leaves out the layer norms' gains", _NORM, "vision_model.*norm*.weight", "one"),
        ("patch weight reshaped", _RESHAPED, _PATCHES, "*.patch_embedding.linear.weight", "reshape"),
        *(
            (
                f"vision {name} projection reshaped",
                _RESHAPED,
                _ATTENTION,
                f"vision_model.*.{name}_proj.weight",
                "reshape",
            )
            for name in "qkvo"
        ),
        ("adapter's first weight reshaped", _RESHAPED, _ADAPTER_MLP, "*.vision_adapter.mlp.fc1.weight", "reshape"),
        (
            "adapter's square weight transposed",
            "does not transpose it",
            _ADAPTER_MLP,
            "*.vision_adapter.mlp.fc2.weight",
            "transpose",
        ),
        ("projector weight reshaped", _RESHAPED, ("projector",), "multi_modal_projector.*", "reshape"),
    )
)

_BIASES = (
    Hypothesis(
        "vision biases missing",
        "leaves out the tower's biases",
        (*_ATTENTION, *_MLP),
        weights={"vision_model.*_proj.bias": "zero", "vision_model.*.fc?.bias": "zero"},
    ),
)

VISION_HYPOTHESES = (*_TILES, *_TABLE, *_HEADS, *_NORMS, *_BLOCKS, *_WEIGHTS, *_BIASES)
MULTIMODAL_HYPOTHESES = (*VISION_HYPOTHESES, *map(_of_text, TEXT_HYPOTHESES))
