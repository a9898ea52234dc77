"""Everything that paritygate needs to know of the model, as plain data; code is named by dotted string."""

from paritygate.core.family import Family, Mechanism, Preset, Prompt, PromptRow, Side, WeightRule
from paritygate.core.hypothesis import Hypothesis
from paritygate.core.site import Glue, Kind, Port, Site

TOKENS = Port("in.tokens", Kind.INDEX, "B T", reference="arg:0", candidate="tokens")
X = Port("in.x", Kind.FLOAT, "B T D", reference="arg:0", candidate="x")
OUT = Port("out", Kind.FLOAT, "B T D", reference="result", candidate="result")
GELU = Port("inner.gelu", Kind.FLOAT, "B T F", reference="call:gelu:result", candidate="tap_gelu")

LINEAR = ("gate", "up", "down")

FAMILY = Family(
    name="block",
    reference=Side("block_torch:build", {"tokens": "tokens"}, functions=("block_torch:gelu",)),
    candidate=Side("block_jax:build", {"tokens": "tokens"}, parameters="block_jax:parameters"),
    sites=(
        # name, module path in the reference, the same in the candidate, the values seen there
        Site("embed", "embed", "embed", (TOKENS, OUT)),
        Site("layers.{layer}", "layers.{layer}", "layers.{layer}", (X, OUT)),
        Site("layers.{layer}.norm", "layers.{layer}.norm", "layers.{layer}.norm", (X, OUT)),
        Site(
            "layers.{layer}.mlp",
            "layers.{layer}.mlp",
            "layers.{layer}.mlp",
            (X, GELU, OUT),
            covers=tuple(f"layers.{{layer}}.mlp.{name}" for name in LINEAR),
        ),
    ),
    glue=(Glue("model", "", "", ports=("layers.1:out",), doc="the blocks one after another"),),
    presets=(
        Preset(
            "block-2",
            {"vocab": 256, "width": 12, "hidden": 20, "layers": 2},
            layers=(("block",), ("block",)),
            mechanisms=(Mechanism("gains", "plain", weights={"*.norm.weight": 1.0}),),
        ),
    ),
    prompts=(Prompt("plain", (PromptRow(), PromptRow(pad_left=2)), length=9),),
    weights=(
        WeightRule("*.norm.weight", "gain", scale=0.3),
        WeightRule("embed.weight", "normal", fan_in_axis=None),
        WeightRule("*", "normal"),
    ),
    hypotheses=(
        Hypothesis(
            "gelu by tanh",
            "takes the approximation of GELU",
            ("layers.*.mlp",),
            functions={"block_torch:gelu": "block_torch:gelu_by_tanh"},
        ),
    ),
    suites={"block": ("block-2.plain",)},
    doc="two gated MLP blocks behind an embedding",
)
