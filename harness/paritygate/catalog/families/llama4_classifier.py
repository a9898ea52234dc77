"""Llama 4 text with a score per sequence in place of the vocabulary head. The text model's sites are llama4's own."""

from dataclasses import replace

from paritygate.catalog.families import llama4
from paritygate.catalog.families.llama4_precision import ASPECTS, EXPECTED
from paritygate.catalog.families.llama4_sites import SITES
from paritygate.catalog.families.llama4_text_hypotheses import CLASSIFIER_HYPOTHESES
from paritygate.core.cell import Mode
from paritygate.core.family import Side
from paritygate.core.site import Glue, Kind, Port, Site

_SEEN_IN = ("scored:out.logits",)
_LABELS = 3  # unlike every width of the presets
_WITHOUT_HEAD = tuple(site for site in SITES if site.name not in ("lm_head", "loss"))
_INPUTS = {"input_ids": "tokens", "attention_mask": "attention_mask", "position_ids": "position_ids"}
_PROMPTS = tuple(prompt for prompt in llama4.PROMPTS if prompt.name in ("leftpad", "padded"))
_PRESETS = tuple(
    replace(
        preset,
        name=preset.name.replace("tiny", "classify"),
        config={**preset.config, "num_labels": _LABELS},
        mechanisms=(),
        doc=f"{preset.name} with a score of {_LABELS} labels",
    )
    for preset in llama4.FAMILY.presets
    if preset.name in ("tiny-scout", "tiny-maverick")
)

FAMILY = replace(
    llama4.FAMILY,
    name="llama4-classifier",
    reference=Side(
        build="paritygate.reference.llama4:build_classifier",
        inputs=_INPUTS,
        functions=llama4.FAMILY.reference.functions,
    ),
    candidate=Side(
        build="paritygate.replay.llama4:build_classifier",
        inputs=_INPUTS,
        parameters=llama4.FAMILY.candidate.parameters,
    ),
    sites=(
        *_WITHOUT_HEAD,
        Site(
            "scored",
            "",
            "",
            (Port("out.logits", Kind.FLOAT, "B L", "result:logits", "result:logits", numerics="logits"),),
            modes=(Mode.CHAINED,),
            doc="one score a sequence, of its last token that is not padding",
        ),
    ),
    presets=_PRESETS,
    prompts=_PROMPTS,
    hypotheses=CLASSIFIER_HYPOTHESES,
    expected=EXPECTED,
    aspects=ASPECTS,
    suites={"classify": tuple(f"{preset.name}.{prompt.name}" for preset in _PRESETS for prompt in _PROMPTS)},
    glue=(
        Glue("text", "model", "model", _SEEN_IN, doc="the layers one after another, each with its kind of mask"),
        Glue("head", "score", "score", _SEEN_IN, doc="the score of every token"),
        Glue("model", "", "", _SEEN_IN, doc="the scores of each row's last token that is not padding"),
    ),
    doc="Llama 4 text sequence classifier",
)
