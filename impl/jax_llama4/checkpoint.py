"""HF tensors to model and back: reads and writes name → array mappings, and reads safetensors folders."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import safe_open

from jax_llama4.config import Llama4TextConfig
from jax_llama4.precision import Numerics


class CheckpointError(ValueError):
    """Everything that does not fit between a checkpoint and a model; `problems` has one line each."""

    def __init__(self, problems: list[str]):
        self.problems = tuple(problems)
        super().__init__("checkpoint does not fit the model:" + "".join(f"\n  {problem}" for problem in problems))


@dataclasses.dataclass(frozen=True)
class Rule:
    """One HF tensor name and the parameter it fills; `{i}` is a layer, `{name}` any other part of the name."""

    hf: str
    path: str
    transform: Literal["as_is", "transpose"]

    def hf_name(self, path: str) -> str | None:
        """The HF name of the tensor that fills `path`, or None where the rule is not about it."""
        found = re.fullmatch(_as_regex(self.path), path)
        return self.hf.format(**found.groupdict()) if found else None


def _as_regex(pattern: str) -> str:
    pattern = re.escape(pattern).replace(r"\{i\}", r"(?P<i>\d+)")
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[a-z_]+)", pattern)


_LAYER = "model.layers.{i}."
_FFN = _LAYER + "feed_forward."

# Matrices of linear layers are stored (out, in) by torch and (in, out) here. The experts already are (in, out).
RULES = (
    Rule("model.embed_tokens.weight", "model.embed_tokens.embedding", "as_is"),
    Rule(_LAYER + "{name}_layernorm.weight", _LAYER + "{name}_layernorm.weight", "as_is"),
    Rule(_LAYER + "self_attn.{name}_proj.weight", _LAYER + "self_attn.{name}_proj.kernel", "transpose"),
    Rule(_LAYER + "self_attn.{name}_proj.bias", _LAYER + "self_attn.{name}_proj.bias", "as_is"),
    Rule(_FFN + "router.weight", _FFN + "router.kernel", "transpose"),
    Rule(_FFN + "experts.{name}_proj", _FFN + "experts.{name}_proj", "as_is"),
    Rule(_FFN + "shared_expert.{name}_proj.weight", _FFN + "shared_expert.{name}_proj.kernel", "transpose"),
    Rule(_FFN + "{name}_proj.weight", _FFN + "{name}_proj.kernel", "transpose"),
    Rule("model.norm.weight", "model.norm.weight", "as_is"),
    Rule("lm_head.weight", "lm_head.kernel", "transpose"),
)

# A multimodal file holds the text model under TEXT_PREFIX, beside parts that a text model has no place for.
TEXT_PREFIX = "language_model."
OTHER_PARTS = ("vision_model.", "multi_modal_projector.")


@dataclasses.dataclass(frozen=True)
class _Slot:
    path: str
    variable: nnx.Variable[Any]
    transform: str

    @property
    def stored_shape(self) -> tuple[int, ...]:
        shape = tuple(self.variable.shape)
        return shape[::-1] if self.transform == "transpose" else shape


def _slots(model: Any) -> dict[str, _Slot]:
    """The model's parameters by the HF name of the tensor that fills them."""
    slots: dict[str, _Slot] = {}
    for path, variable in _parameters(model):
        matches = [(name, rule) for rule in RULES if (name := rule.hf_name(path)) is not None]
        if len(matches) != 1:
            raise CheckpointError([f"{path}: expected one rule for this parameter, {len(matches)} match"])
        name, rule = matches[0]
        slots[name] = _Slot(path, variable, rule.transform)
    return slots


def _parameters(model: Any) -> Iterator[tuple[str, nnx.Variable[Any]]]:
    """Each parameter once; a tied table under the name of the embedding."""
    tied = model.config.tie_word_embeddings
    for part in ("model",) if tied else ("model", "lm_head"):
        flat = nnx.to_flat_state(nnx.state(getattr(model, part), nnx.Param))
        for path, _ in flat:
            variable: Any = getattr(model, part)
            for key in path:
                variable = getattr(variable, str(key))  # nnx.List keeps its items under their numbers
            yield ".".join((part, *map(str, path))), variable


def load_state_dict(
    config: Llama4TextConfig, state: Mapping[str, np.ndarray], numerics: Numerics, model_class: Any = None
) -> Any:
    """Build the model with the tensors of `state`; see `load_tensors`."""
    return load_tensors(config, state.items(), numerics, model_class)


def load_tensors(
    config: Llama4TextConfig, named_tensors: Iterable[tuple[str, np.ndarray]], numerics: Numerics, model_class: Any = None
) -> Any:
    """Build the model with these tensors, cast to `numerics.param` by NumPy.

    Raises CheckpointError with everything at once: tensors missing, unexpected, given twice, of a wrong shape or kind.
    """
    if model_class is None:
        from jax_llama4.text import Llama4ForCausalLM  # its classes import this file

        model_class = Llama4ForCausalLM
    # Traced, not run: nothing is drawn or compiled, and every parameter is filled below.
    model = nnx.eval_shape(lambda: model_class(config, numerics=numerics, rngs=nnx.Rngs(0)))
    slots = _slots(model)
    problems: list[str] = []
    tensors = _text_tensors(named_tensors, problems)
    if config.tie_word_embeddings:
        _drop_tied_copy(tensors, problems)

    problems += [f"{name}: missing, expected {slots[name].stored_shape}" for name in slots if name not in tensors]
    problems += [f"{name}: unexpected, {tensor.shape}" for name, tensor in tensors.items() if name not in slots]
    for name, slot in slots.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.shape != slot.stored_shape:
            problems.append(f"{name}: expected shape {slot.stored_shape}, got {tensor.shape}")
        elif not jnp.issubdtype(tensor.dtype, jnp.floating):
            problems.append(f"{name}: expected floating values, got {tensor.dtype.name}")
    if problems:
        raise CheckpointError(problems)

    for name, slot in slots.items():
        value = tensors[name].astype(numerics.param)
        value = np.ascontiguousarray(value.T) if slot.transform == "transpose" else value
        slot.variable.set_value(jax.device_put(value))
    return model


def _text_tensors(pairs: Iterable[tuple[str, np.ndarray]], problems: list[str]) -> dict[str, np.ndarray]:
    """The text model's tensors by their name in a text-only file."""
    given = [(name, np.asarray(tensor)) for name, tensor in pairs]
    multimodal = any(name.startswith(TEXT_PREFIX) for name, _ in given)
    tensors: dict[str, np.ndarray] = {}
    for name, tensor in given:
        if multimodal and name.startswith(OTHER_PARTS):
            continue
        name = name.removeprefix(TEXT_PREFIX)
        if name in tensors:
            problems.append(f"{name}: given twice, {tensors[name].shape} and {tensor.shape}")
        tensors[name] = tensor
    return tensors


def _drop_tied_copy(tensors: dict[str, np.ndarray], problems: list[str]) -> None:
    """HF: leaves the tied head out of its files, but names it in `state_dict()`; a true copy is accepted."""
    head = tensors.pop("lm_head.weight", None)
    table = tensors.get("model.embed_tokens.weight")
    if head is not None and table is not None and not np.array_equal(head, table):
        problems.append("lm_head.weight: differs from model.embed_tokens.weight, but tie_word_embeddings is set")


def to_state_dict(model: Any) -> dict[str, np.ndarray]:
    """The model's parameters under HF's names and layouts, in the dtype they are held in."""
    state = {}
    for name, slot in _slots(model).items():
        value = np.asarray(slot.variable[...])
        state[name] = np.ascontiguousarray(value.T) if slot.transform == "transpose" else value
    return state


def read_safetensors(folder: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of every `*.safetensors` file of a folder; a name held by two files comes twice."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise CheckpointError([f"{folder}: expected *.safetensors files, found none"])
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            # Not a mapping, and not iterable in older releases.
            for name in tensors.keys():  # noqa: SIM118
                yield name, tensors.get_tensor(name)
