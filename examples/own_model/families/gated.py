"""All that paritygate must know of the model: how both sides are built, and where each shows its values."""

from paritygate.core.family import Family, Preset, Prompt, PromptRow, Side, WeightRule
from paritygate.core.site import Glue, Kind, Port, Site


def site(name: str, width: str, *, takes: str = "x", role: str = "", covers: tuple[str, ...] = ()) -> Site:
    """A module that has the same path on both sides, with its input and its result."""
    kind, layout = (Kind.INDEX, "B T") if takes == "tokens" else (Kind.FLOAT, "B T D")
    ports = (
        Port(f"in.{takes}", kind, layout, "arg:0", takes),
        Port("out", Kind.FLOAT, width, "result", "result", role=role),
    )
    return Site(name, name, name, ports, covers=covers)


FAMILY = Family(
    name="gated",
    reference=Side("model_torch:build", {"tokens": "tokens"}),
    candidate=Side("model_jax:build", {"tokens": "tokens"}, parameters="model_jax:parameters"),
    sites=(
        site("embed", "B T D", takes="tokens"),
        site("layers.{layer}", "B T D"),
        site("layers.{layer}.norm", "B T D"),
        site(
            "layers.{layer}.mlp",
            "B T D",
            covers=("layers.{layer}.mlp.*",),
        ),
        site("head", "B T V", role="logits"),
    ),
    glue=(Glue("model", "", "", ("head:out",), doc="the layers one after another"),),
    presets=(
        Preset(
            "gated-2",
            {"vocab": 256, "width": 12, "hidden": 20, "layers": 2},
            layers=(("gated",), ("gated",)),
        ),
    ),
    prompts=(Prompt("text", (PromptRow(), PromptRow(pad_left=3)), 16),),
    weights=(
        WeightRule("*.norm.weight", "gain", scale=0.3),
        WeightRule("embed.weight", "normal", fan_in_axis=None),
        WeightRule("*", "normal"),
    ),
    suites={"gated": ("gated-2.text",)},
    axes={"B": "batch", "T": "length", "D": "embed", "V": "vocab"},
    doc="two gated layers between an embedding and a head",
)
