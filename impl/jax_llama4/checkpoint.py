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

    In both names `{i}` is a layer and `{a|b}` one of these words. An axis of None is replicated under all rules.
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


_LAYER = "model.layers.{i}."
_ATTN = _LAYER + "self_attn."
_FFN = _LAYER + "feed_forward."
_SHARED = _FFN + "shared_expert."
_NORM = "{input|post_attention}_layernorm.weight"

# Matrices of linear layers are stored (out, in) by torch and (in, out) here. The experts already are (in, out).
# Heads lie one after another along the axes `heads` and `kv_heads`, head_dim wide each. In `gate_up_proj` the last axis
# is the gate's columns and then up's. Every device needs the logits of all experts, so the router's are replicated.
RULES = (
    Rule("model.embed_tokens.weight", "model.embed_tokens.embedding", "as_is", ("vocab", "embed")),
    Rule(_LAYER + _NORM, _LAYER + _NORM, "as_is", ("embed",)),
    Rule(_ATTN + "q_proj.weight", _ATTN + "q_proj.kernel", "transpose", ("embed", "heads")),
    Rule(_ATTN + "{k|v}_proj.weight", _ATTN + "{k|v}_proj.kernel", "transpose", ("embed", "kv_heads")),
    Rule(_ATTN + "o_proj.weight", _ATTN + "o_proj.kernel", "transpose", ("heads", "embed")),
    Rule(_ATTN + "q_proj.bias", _ATTN + "q_proj.bias", "as_is", ("heads",)),
    Rule(_ATTN + "{k|v}_proj.bias", _ATTN + "{k|v}_proj.bias", "as_is", ("kv_heads",)),
    Rule(_ATTN + "o_proj.bias", _ATTN + "o_proj.bias", "as_is", ("embed",)),
    Rule(_FFN + "router.weight", _FFN + "router.kernel", "transpose", ("embed", None)),
    Rule(_FFN + "experts.gate_up_proj", _FFN + "experts.gate_up_proj", "as_is", ("expert", "embed", "expert_mlp")),
    Rule(_FFN + "experts.down_proj", _FFN + "experts.down_proj", "as_is", ("expert", "expert_mlp", "embed")),
    Rule(_SHARED + "{gate|up}_proj.weight", _SHARED + "{gate|up}_proj.kernel", "transpose", ("embed", "mlp")),
    Rule(_SHARED + "down_proj.weight", _SHARED + "down_proj.kernel", "transpose", ("mlp", "embed")),
    Rule(_FFN + "{gate|up}_proj.weight", _FFN + "{gate|up}_proj.kernel", "transpose", ("embed", "mlp")),
    Rule(_FFN + "down_proj.weight", _FFN + "down_proj.kernel", "transpose", ("mlp", "embed")),
    Rule("model.norm.weight", "model.norm.weight", "as_is", ("embed",)),
    Rule("lm_head.weight", "lm_head.kernel", "transpose", ("embed", "vocab")),
    Rule("score.weight", "score.kernel", "transpose", ("embed", None)),
)

# A tied head holds the embedding table itself.
_TIED = {"lm_head.embedding": "model.embed_tokens.embedding"}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a model, or one layer's row of a parameter that is stacked over layers."""

    path: str  # as in an unrolled causal language model, the names that RULES uses
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


def parameters(model: nnx.Module) -> dict[str, Parameter]:
    """The parameters of a top-level model, built or abstract, by the HF name of the tensor that fills each.

    A module with an attribute `layer_numbers` holds weights stacked over these layers, as rows of every leading axis.
    """
    root = getattr(model, "checkpoint_root", "")
    found: dict[str, Parameter] = {}
    for keys, _ in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        own_path = ".".join(map(str, keys))
        node, rows = model, None
        for depth, key in enumerate(keys):
            node = getattr(node, str(key))  # nnx.List keeps its items under their numbers
            if getattr(node, "layer_numbers", None) is not None:
                rest = ".".join(map(str, keys[depth + 1 :]))
                rows = [f"model.layers.{number}.{rest}" for number in node.layer_numbers]
        variable: Any = node
        for row, path in enumerate(rows or [_TIED.get(root + own_path, root + own_path)]):
            matches = [(name, rule) for rule in RULES if (name := rule.hf_name(path)) is not None]
            if len(matches) != 1:
                raise CheckpointError([f"{path}: expected one rule for this parameter, {len(matches)} match"])
            name, rule = matches[0]
            found[name] = Parameter(path, own_path, variable, row if rows else None, rule, name)
    return found


def abstract_model(model_class: Any, config: Llama4TextConfig, numerics: Numerics, **options: Any) -> Any:
    """The model with shapes for parameters: traced, not run, so nothing is drawn, compiled or allocated."""
    return nnx.eval_shape(lambda: model_class(config, numerics=numerics, rngs=nnx.Rngs(0), **options))


def param_shardings(
    config: Llama4TextConfig, mesh: Mesh, rules: Rules | str, model_class: Any = None, **options: Any
) -> dict[str, NamedSharding]:
    """Where each parameter lies, by its path in the model; `options` are the constructor's, such as stacked layers.

    A parameter is split as the rules say or refused, never left whole in silence: raises ShardingError naming each
    parameter, dimension and mesh axis that do not divide. `rules.replace(kv_heads=None)` replicates an axis on purpose.
    """
    placement = as_placement(mesh, rules)
    assert placement is not None
    model = abstract_model(model_class or default_class(), config, resolve(), **options)
    return shardings_of(parameters(model), config, placement)


def shardings_of(
    found: Mapping[str, Parameter], config: Llama4TextConfig, placement: Placement
) -> dict[str, NamedSharding]:
    """As `param_shardings`, for the parameters of a model."""
    # What is split is whole heads, and the same experts' columns of gate, up and down.
    units = {
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "expert_mlp": config.intermediate_size,
    }
    problems: list[str] = []
    placed: dict[str, NamedSharding] = {}
    for parameter in found.values():
        if parameter.own_path in placed:
            continue
        sharding = placement.sharding(parameter.axes)
        placed[parameter.own_path] = sharding
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


def default_class() -> Any:
    """`Llama4ForCausalLM`."""
    from jax_llama4.heads import Llama4ForCausalLM  # the model classes import this file

    return Llama4ForCausalLM
