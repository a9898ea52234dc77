"""The sites of Llama 4's vision tower, of its projector and of the merge with the text, as in `llama4_sites`."""

from paritygate.catalog.families.llama4_sites import PLACED
from paritygate.core.cell import Mode
from paritygate.core.site import Glue, Kind, Port, Site

FLOAT, MASK = Kind.FLOAT, Kind.MASK
PATCHES = "I P D"
# HF keeps an axis of chunks, of which there is one, until the encoder.
_CHUNKED = "I 1 P D"
_LAYER = "vision_model.model.layers.{vision_layer}"
_OF_TOKENS = ("vision_model.class_embedding", "vision_model.positional_embedding_vlm")
_ROTATED = "call:vision_apply_rotary_emb:result"
_FREQUENCIES = Port(
    "in.frequencies",
    FLOAT,
    "P H R",
    "kwarg:freqs_ci | complex_pair",
    "frequencies",
    reference_layout="P 1 H R",
    numerics="rope",
)


def _module(
    name: str,
    path: str,
    argument: str,
    doc: str,
    reference_layout: str = "",
    covers: tuple[str, ...] = (),
    numerics: str = "compute",
) -> Site:
    """A site that takes one value, in the dtype of a role, and gives one."""
    return Site(
        name,
        path,
        path,
        (
            Port("in.x", FLOAT, PATCHES, "arg:0", argument, reference_layout=reference_layout, numerics=numerics),
            Port("out", FLOAT, PATCHES, "result", "result", reference_layout=reference_layout),
        ),
        fed="pictures",
        covers=covers,
        doc=doc,
    )


def _norm(name: str, path: str) -> Site:
    """A layer norm of the residual stream."""
    return _module(name, path, "x", "layer norm", numerics="residual")


VISION_SITES = (
    Site(
        "vision",
        "vision_model",
        "vision_model",
        (
            Port("in.pixels", FLOAT, "I C h w", "arg:0", "pixel_values"),
            Port("out", FLOAT, PATCHES, "result:last_hidden_state", "result:last_hidden_state"),
        ),
        fed="pictures",
        left_out=_OF_TOKENS,
        doc="the whole vision tower, adapter included",
    ),
    Site(
        "vision.patches",
        "vision_model.patch_embedding",
        "vision_model.patch_embedding",
        (
            Port("in.pixels", FLOAT, "I C h w", "arg:0", "hidden_states"),
            Port("out", FLOAT, PATCHES, "result", "result"),
        ),
        fed="pictures",
        covers=("vision_model.patch_embedding.*",),
        doc="tiles to patches",
    ),
    Site(
        "vision.tokens",
        "vision_model.layernorm_pre",
        "vision_model",
        (Port("out", FLOAT, PATCHES, "arg:0", "tap_tokens", reference_layout=_CHUNKED),),
        modes=(Mode.CHAINED,),
        fed="pictures",
        covers=_OF_TOKENS,
        doc="glue: class token behind the patches, positions added",
    ),
    Site(
        "vision.rope",
        "vision_model.rotary_embedding",
        "vision_model.rotary_embedding",
        (Port("out", FLOAT, "P H R", "result | complex_pair", "result", reference_layout="P 1 H R"),),
        fed="pictures",
        doc="glue: table of rotations (cos, sin) of a patch's column and row",
    ),
    _module("vision.pre_norm", "vision_model.layernorm_pre", "x", "layer norm", reference_layout=_CHUNKED),
    Site(
        "vision.layers.{vision_layer}",
        _LAYER,
        _LAYER,
        (
            Port("in.x", FLOAT, PATCHES, "kwarg:hidden_state", "hidden_states", numerics="residual"),
            _FREQUENCIES,
            Port("out", FLOAT, PATCHES, "result:0", "result:hidden_states", numerics="residual", placed=PLACED),
        ),
        fed="pictures",
        doc="encoder layer: the residual adds around its modules",
    ),
    _norm("vision.layers.{vision_layer}.input_norm", _LAYER + ".input_layernorm"),
    Site(
        "vision.layers.{vision_layer}.attn",
        _LAYER + ".self_attn",
        _LAYER + ".self_attn",
        (
            Port("in.x", FLOAT, PATCHES, "arg:0", "hidden_states"),
            _FREQUENCIES,
            Port("inner.q_rope", FLOAT, "I P N H", f"{_ROTATED}:0", "tap_q_rope"),
            Port("inner.k_rope", FLOAT, "I P N H", f"{_ROTATED}:1", "tap_k_rope"),
            Port("inner.probs", FLOAT, "I N P S", "call:vision_eager_attention_forward:result:1", "tap_probs"),
            Port("out", FLOAT, PATCHES, "result:0", "result:attention_output", placed=PLACED),
        ),
        fed="pictures",
        covers=(_LAYER + ".self_attn.?_proj",),
        doc="attention of all patches of a tile to each other",
    ),
    _norm("vision.layers.{vision_layer}.post_norm", _LAYER + ".post_attention_layernorm"),
    _module(
        "vision.layers.{vision_layer}.mlp",
        _LAYER + ".mlp",
        "hidden_states",
        "feed-forward",
        covers=(_LAYER + ".mlp.*",),
    ),
    _norm("vision.post_norm", "vision_model.layernorm_post"),
    Site(
        "vision.adapter",
        "vision_model.vision_adapter",
        "vision_model.vision_adapter",
        (
            Port("in.x", FLOAT, PATCHES, "arg:0", "encoded_patches"),
            Port("inner.shuffled", FLOAT, PATCHES, "call:pixel_shuffle:result", "tap_shuffle"),
            Port("out", FLOAT, PATCHES, "result", "result"),
        ),
        fed="pictures",
        doc="squares of patches to one feature vector each",
    ),
    _module(
        "vision.adapter.mlp",
        "vision_model.vision_adapter.mlp",
        "hidden_states",
        "feed-forward of the adapter",
        covers=("vision_model.vision_adapter.mlp.*",),
    ),
    _module(
        "projector",
        "multi_modal_projector",
        "image_features",
        "features to the width of the text",
        reference_layout="(I P) D",
        covers=("multi_modal_projector.*",),
    ),
    Site(
        "merge",
        "",
        "image_merge",
        (
            Port("in.embeds", FLOAT, "B T D", "arg:0", "inputs_embeds", numerics="residual"),
            Port("in.mask", MASK, "B T", "arg:1", "image_mask", reference_layout="B T 1"),
            Port(
                "in.features",
                FLOAT,
                PATCHES,
                "arg:2",
                "image_features",
                reference_layout="(I P) D",
                candidate_layout="(I P) D",
            ),
            Port("out", FLOAT, "B T D", "result", "result", numerics="residual"),
        ),
        fed="pictures",
        function="masked_scatter",
        doc="glue: features in the places of the image tokens",
    ),
)

FUNCTIONS = (
    *(
        f"transformers.models.llama4.modeling_llama4:{name}"
        for name in ("vision_apply_rotary_emb", "vision_eager_attention_forward", "pixel_shuffle")
    ),
    "torch:Tensor.masked_scatter",
)

VISION_GLUE = (
    Glue(
        "vision layers",
        "vision_model.model",
        "vision_model.model",
        ("vision.post_norm:out",),
        doc="the encoder's layers one after another",
    ),
)
