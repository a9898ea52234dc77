"""Llama 4 with pictures: vision tower, projector and text. The text model's sites and weights are llama4's own."""

from dataclasses import replace

from paritygate.catalog.families import llama4
from paritygate.catalog.families.llama4_mesh import PICTURES_PRESET, PICTURES_PROMPT
from paritygate.catalog.families.llama4_precision import ASPECTS, EXPECTED
from paritygate.catalog.families.llama4_sites import SITES
from paritygate.catalog.families.llama4_vision_hypotheses import MULTIMODAL_HYPOTHESES
from paritygate.catalog.families.llama4_vision_sites import FUNCTIONS, VISION_GLUE, VISION_SITES
from paritygate.core.family import (
    PIXELS,
    Dimension,
    Family,
    Mechanism,
    Picture,
    Preset,
    Prompt,
    PromptRow,
    Side,
    WeightRule,
)
from paritygate.core.site import Glue, Site

_TEXT = "language_model."


def _of_text(site: Site) -> Site:
    """A site of the text model where this model has it; what the whole model shows stays with the whole."""

    def within(path: str) -> str:
        return _TEXT + path if path else path

    covers = tuple(map(within, site.covers))
    return replace(site, reference=within(site.reference), candidate=within(site.candidate), covers=covers)


_GLUE = (
    *VISION_GLUE,
    Glue("text", _TEXT + "model", _TEXT + "model", ("lm_head:out",), doc="the layers, each with its kind of mask"),
    Glue("language model", "language_model", "language_model", ("lm_head:out",), doc="hidden states to the head"),
    Glue("model", "", "", ("merge:out", "loss:out"), doc="embeddings and pictures to the text, logits to the loss"),
)

# As in llama4: every width differs from every other, and no matrix is square but the adapter's second, which must be.
# Heads times their width are not the hidden size.
_VISION = {
    "hidden_size": 34,
    "intermediate_size": 136,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
    "num_channels": 3,
    "pixel_shuffle_ratio": 0.5,
    "projector_input_dim": 44,
    "projector_output_dim": 44,
    "vision_output_dim": 44,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
_FINER = {
    "hidden_size": 26,
    "intermediate_size": 234,
    "num_attention_heads": 3,
    "image_size": 24,
    "pixel_shuffle_ratio": 1 / 3,
    "projector_input_dim": 38,
    "projector_output_dim": 38,
    "vision_output_dim": 38,
}
_SCOUT = dict(llama4.FAMILY.preset("tiny-scout").config)
_TOKENS = {"boi_token_index": 256, "eoi_token_index": 257, "image_token_index": 258}
_SMALL = _TOKENS | {
    "vision_config": _VISION,
    "text_config": _SCOUT | {"num_hidden_layers": 1, "moe_layers": [], "no_rope_layers": [1]},
}
_WHOLE = _TOKENS | {
    "vision_config": _VISION | _FINER,
    "text_config": _SCOUT
    | {"hidden_size": 36, "head_dim": 10, "num_hidden_layers": 3, "moe_layers": [1], "no_rope_layers": [1, 1, 0]},
}
_DENSE = ("rope", "qk_norm", "dense")

# A picture of 2 × 3 tiles stands for 37 tokens, of 1 × 3 for 22, of 2 × 1 or 1 × 2 for 17, of one tile for 7.
_TILES = Prompt(
    "tiles",
    (
        PromptRow(pictures=(Picture("chelsea", 3, 2, 3),)),
        PromptRow(pictures=(Picture("coffee", 2, 1, 3), Picture("rocket", 9, zoom=1))),
    ),
    44,
    doc="grids that are not square, several pictures in a row, a picture of one tile",
)
_MIXED = Prompt(
    "mixed",
    (
        PromptRow(pictures=(Picture("astronaut", 4, 2, 1),)),
        PromptRow(),
        PromptRow(pad_left=6, pictures=(Picture("coffee", 5),)),
    ),
    24,
    seed=100,
    doc="a row without pictures, and a row padded on the left",
)
_FRAMES = Prompt(
    "frames",
    (
        PromptRow(pictures=(Picture("rocket", 2), Picture("rocket", 2), Picture("rocket", 2))),
        PromptRow(pad_right=3, holes=(4,), pictures=(Picture("chelsea", 8),)),
    ),
    25,
    seed=200,
    doc="frames of a video as pictures one after another; right padding and a hole",
)
# Pictures over several chunks, then single steps over the end of a chunk, a continuation, a single step again.
_PIECES = (22, 1, 1, 1, 1, 5, 1)
_DECODE = Prompt(
    "decode",
    (
        PromptRow(pictures=(Picture("chelsea", 3, 1, 2),)),
        PromptRow(pad_left=3, pictures=(Picture("coffee", 2), Picture("astronaut", 4))),
    ),
    sum(_PIECES),
    seed=300,
    pieces=_PIECES,
    cache="dense",
    doc="pictures prefilled, then decoding through a cache, one row padded on the left",
)
_PAGED = Prompt(
    "decode-paged",
    (PromptRow(pictures=(Picture("chelsea", 3, 1, 2),)), PromptRow(pictures=(Picture("coffee", 9),))),
    sum(_PIECES),
    seed=400,
    pieces=_PIECES,
    cache="paged",
    doc="pictures prefilled, then decoding through pages",
)
_TRAIN = Prompt(
    "train",
    (PromptRow(pictures=(Picture("astronaut", 4, 1, 2),)), PromptRow(pad_left=3, pad_right=2)),
    24,
    seed=500,
    backward="loss",
    doc="gradient of the loss by every weight",
)


def _vision_mechanisms(prompt: str) -> tuple[Mechanism, ...]:
    return (
        Mechanism("vision rope base", prompt, {"vision_config.rope_parameters.rope_theta": 100.0}),
        Mechanism("class token", prompt, weights={"*.class_embedding": 0.0}),
        Mechanism("positional embedding", prompt, weights={"*.positional_embedding_vlm": 0.0}),
        Mechanism("layer norm gains", prompt, weights={"vision_model.*norm*.weight": 1.0}),
        Mechanism("layer norm biases", prompt, weights={"vision_model.*norm*.bias": 0.0}),
        Mechanism("attention biases", prompt, weights={"vision_model.*_proj.bias": 0.0}),
        Mechanism("feed-forward biases", prompt, weights={"vision_model.*.fc?.bias": 0.0}),
        Mechanism("adapter", prompt, weights={"*.vision_adapter.mlp.fc1.weight": 0.0}),
        Mechanism("projector", prompt, weights={"multi_modal_projector.*": 0.0}),
        Mechanism("pixels", prompt, inputs={PIXELS: 0}),
        Mechanism("order of tiles", prompt, reversed={PIXELS: 0}),
        Mechanism("order of channels", prompt, reversed={PIXELS: 1}),
        Mechanism("order of pixel rows", prompt, reversed={PIXELS: 2}),
        Mechanism("order of pixel columns", prompt, reversed={PIXELS: 3}),
        Mechanism("padding of a row with a picture", "mixed", inputs={"attention_mask": 1}),
    )


_TEXT_MECHANISMS = (
    Mechanism("chunked attention", "mixed", {"text_config.attention_chunk_size": 1 << 20}),
    Mechanism("text rope base", "mixed", {"text_config.rope_parameters.rope_theta": 20000.0}),
    Mechanism("temperature tuning", "mixed", {"text_config.attn_temperature_tuning": False}),
    Mechanism("NoPE layers", "mixed", {"text_config.no_rope_layers": [1] * 3}),
    Mechanism("qk norm", "mixed", {"text_config.use_qk_norm": False}),
    Mechanism("routed experts", "mixed", weights={"*.experts.down_proj": 0.0}),
    Mechanism("shared expert", "mixed", weights={"*.shared_expert.down_proj.weight": 0.0}),
)

DIMENSIONS = (
    *(replace(dimension, key=f"text_config.{dimension.key}") for dimension in llama4.DIMENSIONS),
    Dimension("embed", "vision_config.hidden_size"),
    Dimension("heads", "vision_config.num_attention_heads"),
    Dimension("mlp", "vision_config.intermediate_size"),
    # What goes into the adapter's two matrices, and into the projector.
    Dimension("embed", "vision_config.intermediate_size"),
    Dimension("mlp", "vision_config.projector_input_dim"),
    Dimension("embed", "vision_config.projector_output_dim"),
    Dimension("embed", "vision_config.vision_output_dim"),
)

# Both sides name the parameters of the whole model alike.
_INPUTS = {**llama4.FAMILY.reference.inputs, "pixel_values": PIXELS}
_SUITE = {"tiny-vision": (_TILES, _MIXED, _FRAMES), "tiny-multimodal": (_MIXED, _DECODE, _PAGED, _TRAIN)}

FAMILY = Family(
    name="llama4-multimodal",
    reference=Side(
        build="paritygate.reference.llama4:build_multimodal",
        inputs=_INPUTS,
        functions=(*llama4.FAMILY.reference.functions, *FUNCTIONS),
        cache=llama4.FAMILY.reference.cache,
        pictures="paritygate.reference.llama4_pictures:pictures",
    ),
    candidate=replace(llama4.FAMILY.candidate, build="paritygate.replay.llama4:build_multimodal", inputs=_INPUTS),
    sites=(*VISION_SITES, *map(_of_text, SITES)),
    presets=(
        Preset(
            "tiny-vision",
            _SMALL,
            (_DENSE,),
            seed=3,
            directions=4,
            stacks={"vision_layer": ((),) * 2},
            mechanisms=(*_vision_mechanisms("tiles"), Mechanism("order of frames", "frames", reversed={PIXELS: 0})),
            doc="the vision tower, the projector and the merge, on one dense text layer",
        ),
        Preset(
            "tiny-multimodal",
            _WHOLE,
            (_DENSE, ("rope", "qk_norm", "moe"), ("nope", "dense")),
            seed=4,
            directions=4,
            stacks={"vision_layer": ((),) * 2},
            mechanisms=(*_vision_mechanisms("mixed"), *_TEXT_MECHANISMS),
            doc="pictures and text: chunked and NoPE layers, a mixture of experts, 6 × 6 patches, 3 × 3 to a feature",
        ),
        PICTURES_PRESET,
    ),
    prompts=(_TILES, _MIXED, _FRAMES, _DECODE, _PAGED, _TRAIN, PICTURES_PROMPT),
    variants=llama4.FAMILY.variants,
    weights=(
        WeightRule("vision_model.*norm*.weight", "gain", scale=0.3),
        WeightRule("vision_model.*.bias", "normal", scale=0.3, fan_in_axis=None),
        WeightRule("vision_model.class_embedding", "normal", fan_in_axis=None),
        WeightRule("vision_model.positional_embedding_vlm", "normal", scale=0.5, fan_in_axis=None),
        WeightRule("multi_modal_projector.*", "normal"),
        WeightRule("vision_model.*", "normal"),
        *(replace(rule, pattern=_TEXT + rule.pattern) for rule in llama4.FAMILY.weights),
    ),
    suites={
        "vision": tuple(f"{preset}.{prompt.name}" for preset, prompts in _SUITE.items() for prompt in prompts),
        "mesh": (f"{PICTURES_PRESET.name}.{PICTURES_PROMPT.name}",),
    },
    min_margin_x=llama4.FAMILY.min_margin_x,
    blocks=tuple(replace(block, size=f"text_config.{block.size}") for block in llama4.FAMILY.blocks),
    glue=_GLUE,
    branches=tuple(
        branch if branch.key == "layer" else replace(branch, key=f"text_config.{branch.key}")
        for branch in llama4.BRANCHES
    ),
    hypotheses=MULTIMODAL_HYPOTHESES,
    expected=EXPECTED,
    aspects=ASPECTS,
    axes=llama4.AXES,
    auto_caches=llama4.FAMILY.auto_caches,
    dimensions=DIMENSIONS,
    doc="Llama 4 with pictures",
)
