"""A two-layer family that is no transformer: everything paritygate needs to know of an architecture, in one file."""

from paritygate.core.family import Branch, Dimension, Family, Mechanism, Preset, Prompt, PromptRow, Side, WeightRule
from paritygate.core.hypothesis import Hypothesis
from paritygate.core.site import Glue, Kind, Port, Site

FAMILY = Family(
    name="toy",
    reference=Side("toy_torch:build", {"tokens": "tokens"}, functions=("toy_torch:activate",)),
    candidate=Side("toy_jax:build", {"tokens": "tokens"}, parameters="toy_jax:parameters", sharded="toy_jax:sharded"),
    sites=(
        Site(
            "embed",
            "embed",
            "embed",
            (
                Port("in.tokens", Kind.INDEX, "B T", "arg:0", "inputs"),
                Port("out", Kind.FLOAT, "B T D", "result", "result"),
            ),
        ),
        Site(
            "layers.{layer}",
            "layers.{layer}",
            "layers.{layer}",
            (
                Port("in.x", Kind.FLOAT, "B T D", "arg:0", "x"),
                Port("inner.active", Kind.FLOAT, "B T F", "call:activate:result", "tap_active"),
                Port("out", Kind.FLOAT, "B T D", "result", "result"),
            ),
            covers=("layers.{layer}.up", "layers.{layer}.down"),
        ),
        Site(
            "layers.{layer}.norm",
            "layers.{layer}.norm",
            "layers.{layer}.norm",
            (
                Port("in.x", Kind.FLOAT, "B T D", "arg:0", "x"),
                Port("out", Kind.FLOAT, "B T D", "result", "result"),
            ),
        ),
        Site(
            "head",
            "head",
            "head",
            (
                Port("in.x", Kind.FLOAT, "B T D", "arg:0", "inputs"),
                Port("out", Kind.FLOAT, "B T V", "result", "result", role="logits"),
            ),
        ),
    ),
    presets=(
        Preset(
            "toy-2",
            {"vocab": 256, "width": 10, "hidden": 14, "layers": 2},
            layers=(("block",), ("block",)),
            mechanisms=(Mechanism("gains", "plain", weights={"*.norm.weight": 1.0}),),
        ),
    ),
    prompts=(Prompt("plain", (PromptRow(), PromptRow(pad_left=2)), 9),),
    weights=(
        WeightRule("*.norm.weight", "gain", scale=0.3),
        WeightRule("embed.weight", "normal", fan_in_axis=None),
        WeightRule("*", "normal"),
    ),
    hypotheses=(
        Hypothesis("gains missing", "leaves out the gains", ("layers.*.norm",), weights={"*.norm.weight": "one"}),
        Hypothesis(
            "head doubled",
            "doubles the logits",
            ("head",),
            functions={"toy_torch:Toy.forward": "toy_torch:head_doubled"},
        ),
    ),
    suites={"toy": ("toy-2.plain",)},
    glue=(Glue("model", "", "", ("head:out",), doc="the blocks one after another"),),
    axes={"B": "batch", "T": "length", "D": "embed", "F": "mlp", "V": "vocab"},
    dimensions=(Dimension("embed", "width"), Dimension("mlp", "hidden"), Dimension("vocab", "vocab")),
    branches=(Branch("layers", (1, 2), doc="how many blocks"),),
    doc="two residual layers between an embedding and a head",
)
