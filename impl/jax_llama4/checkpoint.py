"""One table from HF's tensors to parameters: where each comes from, how it is stored, what its axes mean."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from jax_llama4.config import Llama4TextConfig
from jax_llama4.config_base import Config
from jax_llama4.config_multimodal import Llama4Config
from jax_llama4.config_vision import Llama4VisionConfig
from jax_llama4.precision import Numerics, resolve
from jax_llama4.sharding import Placement, Rules, ShardingError, as_placement, require_logical


class CheckpointError(ValueError):
    """Everything that does not fit between a checkpoint and a model; `problems` has one line each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("checkpoint does not fit the model:" + "".join(f"\n  {problem}" for problem in problems))


@dataclasses.dataclass(frozen=True)
class Rule:
    """One HF tensor name, the parameter it fills, and a logical axis for each dimension of that parameter.

    Both names are those of the multimodal model. In them `{i}` is a layer and `{a|b}` one of these words. An axis of
    None is replicated under all rules.
    """

    hf: str
    path: str
    transform: Literal["as_is", "transpose"]
    axes: tuple[str | None, ...]

    def __post_init__(self):
        require_logical(self.axes)

    def hf_name(self, path: str) -> str | None:
        """The HF name of the tensor that fills `path`, or None where the rule is not about it."""
        found = re.fullmatch(_as_regex(self.path), path)
        if not found:
            return None
        words = iter(found.groups())
        return re.sub(_PLACEHOLDER, lambda _: next(words), self.hf)


_PLACEHOLDER = r"\{([^}]*)\}"


@functools.cache
def _as_regex(pattern: str) -> str:
    literal, words = re.split(_PLACEHOLDER, pattern)[::2], re.split(_PLACEHOLDER, pattern)[1::2]
    groups = [r"(\d+)" if word == "i" else f"({word})" for word in words]
    return "".join(re.escape(text) + group for text, group in zip(literal, [*groups, ""], strict=True))


TEXT = "language_model."
VISION = "vision_model."
PROJECTOR = "multi_modal_projector."

_LAYER = TEXT + "model.layers.{i}."
_ATTN = _LAYER + "self_attn."
_FFN = _LAYER + "feed_forward."
_SHARED = _FFN + "shared_expert."
_NORM = "{input|post_attention}_layernorm.weight"
_EMBED = TEXT + "model.embed_tokens."
_VISION_LAYER = VISION + "model.layers.{i}."
_VISION_ATTN = _VISION_LAYER + "self_attn."
_VISION_MLP = _VISION_LAYER + "mlp."
_VISION_NORM = "{input|post_attention}_layernorm.{weight|bias}"
_ADAPTER = VISION + "vision_adapter.mlp."


def _same(name: str, *axes: str | None) -> Rule:
    return Rule(name, name, "as_is", axes)


def _matrix(module: str, *axes: str | None) -> Rule:
    """A linear layer's: stored (out, in) by torch and (in, out) here."""
    return Rule(module + ".weight", module + ".kernel", "transpose", axes)


# The experts already are (in, out). Heads lie one after another along the axes `heads` and `kv_heads`, head_dim wide
# each. In `gate_up_proj` the last axis is the gate's columns and then up's. Every device needs the logits of all
# experts, so the router's are replicated; what the multimodal projector gives is merged into the text as it is.
RULES = (
    Rule(_EMBED + "weight", _EMBED + "embedding", "as_is", ("vocab", "embed")),
    _same(_LAYER + _NORM, "embed"),
    _matrix(_ATTN + "q_proj", "embed", "heads"),
    _matrix(_ATTN + "{k|v}_proj", "embed", "kv_heads"),
    _matrix(_ATTN + "o_proj", "heads", "embed"),
    _same(_ATTN + "q_proj.bias", "heads"),
    _same(_ATTN + "{k|v}_proj.bias", "kv_heads"),
    _same(_ATTN + "o_proj.bias", "embed"),
    _matrix(_FFN + "router", "embed", None),
    _same(_FFN + "experts.gate_up_proj", "expert", "embed", "expert_mlp"),
    _same(_FFN + "experts.down_proj", "expert", "expert_mlp", "embed"),
    _matrix(_SHARED + "{gate|up}_proj", "embed", "mlp"),
    _matrix(_SHARED + "down_proj", "mlp", "embed"),
    _matrix(_FFN + "{gate|up}_proj", "embed", "mlp"),
    _matrix(_FFN + "down_proj", "mlp", "embed"),
    _same(TEXT + "model.norm.weight", "embed"),
    _matrix(TEXT + "lm_head", "embed", "vocab"),
    _matrix(TEXT + "score", "embed", None),
    _matrix(VISION + "patch_embedding.linear", None, "embed"),
    _same(VISION + "class_embedding", "embed"),
    _same(VISION + "positional_embedding_vlm", None, "embed"),
    _same(VISION + "layernorm_{pre|post}.{weight|bias}", "embed"),
    _same(_VISION_LAYER + _VISION_NORM, "embed"),
    _matrix(_VISION_ATTN + "{q|k|v}_proj", "embed", "heads"),
    _same(_VISION_ATTN + "{q|k|v}_proj.bias", "heads"),
    _matrix(_VISION_ATTN + "o_proj", "heads", "embed"),
    _same(_VISION_ATTN + "o_proj.bias", "embed"),
    _matrix(_VISION_MLP + "fc1", "embed", "mlp"),
    _same(_VISION_MLP + "fc1.bias", "mlp"),
    _matrix(_VISION_MLP + "fc2", "mlp", "embed"),
    _same(_VISION_MLP + "fc2.bias", "embed"),
    _matrix(_ADAPTER + "fc1", "embed", "mlp"),
    _matrix(_ADAPTER + "fc2", "mlp", "embed"),
    _matrix(PROJECTOR + "linear_1", "embed", None),
)

# A tied head holds the embedding table itself.
_TIED = {TEXT + "lm_head.embedding": _EMBED + "embedding"}


@functools.cache
def is_known(hf_name: str) -> bool:
    """Whether a rule is about the tensor of this name."""
    return any(re.fullmatch(_as_regex(rule.hf), hf_name) for rule in RULES)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a model, or one layer's row of a parameter that is stacked over layers."""

    path: str  # as in an unrolled multimodal model, the names that RULES uses
    own_path: str  # as in its own model
    variable: nnx.Variable[Any]
    row: int | None
    rule: Rule
    hf_name: str

    @property
    def shape(self) -> tuple[int, ...]:
        shape = tuple(self.variable.shape)
        return shape if self.row is None else shape[1:]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of HF's tensor."""
        return self.shape[::-1] if self.rule.transform == "transpose" else self.shape

    @property
    def axes(self) -> tuple[str | None, ...]:
        """A logical axis for each dimension of the variable."""
        return self.rule.axes if self.row is None else ("layer", *self.rule.axes)


def parameters(model: Any) -> dict[str, Parameter]:
    """The parameters of a top-level model, built or abstract, by the HF name of the tensor that fills each.

    The class says as `checkpoint_root` where it sits in the multimodal model, whose names these are. An item of a list
    with an attribute `layer_numbers` stands for the items of these numbers: it holds their weights as rows.
    """
    root: str = model.checkpoint_root
    found: dict[str, Parameter] = {}
    for keys, _ in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        own_path = ".".join(map(str, keys))
        node: Any = model
        rows: list[str] = []
        for depth, key in enumerate(keys):
            node = getattr(node, str(key))  # nnx.List keeps its items under their numbers
            if getattr(node, "layer_numbers", None) is not None:
                before, after = keys[:depth], keys[depth + 1 :]
                rows = [root + ".".join(map(str, (*before, number, *after))) for number in node.layer_numbers]
        for row, path in enumerate(rows or [_TIED.get(root + own_path, root + own_path)]):
            matches = [(name, rule) for rule in RULES if (name := rule.hf_name(path)) is not None]
            if len(matches) != 1:
                raise CheckpointError([f"{path}: expected one rule for this parameter, {len(matches)} match"])
            name, rule = matches[0]
            found[name] = Parameter(path, own_path, node, row if rows else None, rule, name)
    return found


def abstract_model(model_class: Any, config: Config, numerics: Numerics, **options: Any) -> Any:
    """The model with shapes for parameters: traced, not run, so nothing is drawn, compiled or allocated."""
    return nnx.eval_shape(lambda: model_class(config, numerics=numerics, rngs=nnx.Rngs(0), **options))


def param_shardings(
    config: Config, mesh: Mesh, rules: Rules | str, model_class: Any = None, **options: Any
) -> dict[str, NamedSharding]:
    """Where each parameter lies, by its path in the model; `options` are the constructor's, such as stacked layers.

    A parameter is split as the rules say or refused, never left whole in silence: raises ShardingError naming each
    parameter, dimension and mesh axis that do not divide. `rules.replace(kv_heads=None)` replicates an axis on purpose.
    """
    placement = as_placement(mesh, rules)
    assert placement is not None
    model = abstract_model(model_class or default_class(config), config, resolve(), **options)
    return shardings_of(parameters(model), config, placement)


def shardings_of(found: Mapping[str, Parameter], config: Config, placement: Placement) -> dict[str, NamedSharding]:
    """As `param_shardings`, for the parameters of a model."""
    problems: list[str] = []
    placed: dict[str, NamedSharding] = {}
    for parameter in found.values():
        if parameter.own_path in placed:
            continue
        sharding = placement.sharding(parameter.axes)
        placed[parameter.own_path] = sharding
        units = _units(config, parameter.path)
        dimensions = zip(parameter.axes, sharding.spec, parameter.variable.shape, strict=True)
        for dimension, (logical, entry, size) in enumerate(dimensions):
            count, ways = units.get(str(logical), size), placement.ways(entry)
            if count % ways:
                problems.append(
                    f"{parameter.own_path}: dimension {dimension} has {count} {logical}, which {ways} devices along "
                    f"{entry} do not divide; rules.replace({logical}=None) replicates it"
                )
    if problems:
        raise ShardingError(problems)
    return placed


def shard_model(model: Any, mesh: Mesh, rules: Rules | str) -> None:
    """Move the parameters of a built model onto a mesh, in place; raises as `param_shardings`."""
    placement = as_placement(mesh, rules)
    assert placement is not None
    found = parameters(model)
    placed = shardings_of(found, model.config, placement)
    for path, variable in {parameter.own_path: parameter.variable for parameter in found.values()}.items():
        variable.set_value(jax.device_put(variable[...], placed[path]))


def _units(config: Config, path: str) -> dict[str, int]:
    """How many there are of what is only split whole: heads, and the same columns of an expert's gate, up and down."""
    if isinstance(config, Llama4Config):
        config = config.vision_config if path.startswith(VISION) else config.text_config
    if isinstance(config, Llama4VisionConfig):
        return {"heads": config.num_attention_heads}
    assert isinstance(config, Llama4TextConfig)
    return {
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "expert_mlp": config.intermediate_size,
    }


def default_class(config: Config) -> Any:
    """The class of HF's files of this configuration: multimodal, vision, or causal language model."""
    # The model classes import this file.
    if isinstance(config, Llama4Config):
        from jax_llama4.multimodal import Llama4ForConditionalGeneration

        return Llama4ForConditionalGeneration
    if isinstance(config, Llama4VisionConfig):
        from jax_llama4.vision import Llama4VisionModel

        return Llama4VisionModel
    from jax_llama4.heads import Llama4ForCausalLM

    return Llama4ForCausalLM
