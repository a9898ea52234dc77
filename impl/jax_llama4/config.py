"""The text configuration: HF's field names and defaults, every derived field filled in, nothing taken unread."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax_llama4.config_keys import COMPOSITE_IRRELEVANT, IRRELEVANT, wrong_irrelevant
from jax_llama4.config_rope import TOP_LEVEL_ROPE_KEYS, RopeParameters, complete_rope, gather_rope

MODEL_TYPE = "llama4_text"
COMPOSITE_TYPE = "llama4"

# Default of fields that never stay None: of type Any, so that readers need not ask.
_FILLED_IN: Any = None

LAYER_TYPES = ("chunked_attention", "full_attention")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

_POSITIVE_INTS = (
    "vocab_size hidden_size intermediate_size intermediate_size_mlp num_hidden_layers num_attention_heads "
    "num_key_value_heads head_dim max_position_embeddings floor_scale"
).split()
_FLAGS = "use_cache tie_word_embeddings use_qk_norm output_router_logits attn_temperature_tuning attention_bias".split()
_REALS = "initializer_range rms_norm_eps attn_scale".split()


class ConfigError(ValueError):
    """Everything wrong with one configuration; `problems` has one line each."""

    def __init__(self, problems: list[str]):
        self.problems = tuple(problems)
        super().__init__("Llama4TextConfig:" + "".join(f"\n  {problem}" for problem in problems))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama4TextConfig:
    """Sizes and switches of a Llama 4 text model.

    A value is hashable, and complete once constructed: `moe_layers`, `no_rope_layers` and `layer_types` are tuples.
    Raises ConfigError with every problem at once. Source: HF `Llama4TextConfig`.
    """

    vocab_size: int = 202048
    hidden_size: int = 5120
    intermediate_size: int = 8192
    intermediate_size_mlp: int = 16384
    num_hidden_layers: int = 48
    num_attention_heads: int = 40
    num_key_value_heads: int = 8
    head_dim: int = 128
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096 * 32
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] | None = 2
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    num_experts_per_tok: int = 1
    num_local_experts: int = 16
    moe_layers: tuple[int, ...] = _FILLED_IN
    interleave_moe_layer_step: int = 1
    use_qk_norm: bool = True
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001
    router_jitter_noise: float = 0.0
    rope_parameters: RopeParameters = _FILLED_IN
    no_rope_layers: tuple[int, ...] = _FILLED_IN  # 1 means the layer uses rope
    no_rope_layer_interval: int = 4
    attention_chunk_size: int | None = 8192
    layer_types: tuple[str, ...] = _FILLED_IN
    attn_temperature_tuning: bool = True
    floor_scale: int = 8192
    attn_scale: float = 0.1
    attention_bias: bool = False
    # Sequence classification only.
    num_labels: int = _FILLED_IN
    id2label: tuple[str, ...] = _FILLED_IN
    problem_type: str | None = None

    def __post_init__(self):
        problems: list[str] = []
        self._set(rope_parameters=complete_rope(self.rope_parameters, self.max_position_embeddings, problems))
        self._fill_sizes(problems)
        self._fill_labels(problems)
        problems += self._wrong_scalars()
        if not problems:  # the lists below are derived from the numbers checked above
            self._fill_layers(problems)
        if not problems:
            problems += self._wrong_layers()
        if problems:
            raise ConfigError(problems)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _fill_sizes(self, problems: list[str]) -> None:
        if self.num_key_value_heads is None:
            self._set(num_key_value_heads=self.num_attention_heads)
        if self.head_dim is None and isinstance(self.hidden_size, int) and self.num_attention_heads:
            self._set(head_dim=self.hidden_size // self.num_attention_heads)
        if isinstance(self.attn_temperature_tuning, int):
            # Hub files of the first releases hold an int here, 4; every nonzero one means yes.
            self._set(attn_temperature_tuning=bool(self.attn_temperature_tuning))
        if isinstance(self.eos_token_id, list):
            self._set(eos_token_id=tuple(self.eos_token_id))

    def _fill_labels(self, problems: list[str]) -> None:
        names: Any = self.id2label
        if isinstance(names, Mapping):  # HF: label names by number, which JSON turns into words
            names = tuple(names[key] for key in sorted(names, key=int))
        count = self.num_labels if self.num_labels is not None else len(names) if names is not None else 2
        if not _is_int(count) or count < 1:
            problems.append(f"num_labels: expected a positive int, got {count!r}")
            return
        names = tuple(f"LABEL_{i}" for i in range(count)) if names is None else tuple(names)
        if len(names) != count:
            problems.append(f"id2label: expected {count} names, num_labels of them, got {list(names)}")
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            problems.append(
                f"problem_type: expected None or one of {', '.join(PROBLEM_TYPES)}, got {self.problem_type!r}"
            )
        self._set(num_labels=count, id2label=names)

    def _wrong_scalars(self) -> list[str]:
        problems = [
            f"{name}: expected a positive int, got {getattr(self, name)!r}"
            for name in _POSITIVE_INTS
            if not _is_int(getattr(self, name)) or getattr(self, name) < 1
        ]
        problems += [
            f"{name}: expected a bool, got {getattr(self, name)!r}"
            for name in _FLAGS
            if not isinstance(getattr(self, name), bool)
        ]
        problems += [
            f"{name}: expected a number, got {getattr(self, name)!r}"
            for name in _REALS
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int | float)
        ]
        if not problems:
            problems += [
                f"{name}: expected a finite number, got {getattr(self, name)!r}"
                for name in _REALS
                if not math.isfinite(getattr(self, name))
            ]
            if self.rms_norm_eps <= 0:
                problems.append(f"rms_norm_eps: expected a number above 0, got {self.rms_norm_eps!r}")
        if self.hidden_act != "silu":
            problems.append(f"hidden_act: expected 'silu', got {self.hidden_act!r}")
        if self.attention_chunk_size is not None and (
            not _is_int(self.attention_chunk_size) or self.attention_chunk_size < 1
        ):
            problems.append(f"attention_chunk_size: expected a positive int or None, got {self.attention_chunk_size!r}")
        if not problems and self.num_attention_heads % self.num_key_value_heads:
            problems.append(
                f"num_attention_heads: {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads, {self.num_key_value_heads}"
            )
        if not problems and self.head_dim % 2:
            problems.append(f"head_dim: rope rotates pairs, so an even number is expected, got {self.head_dim}")
        return problems

    def _fill_layers(self, problems: list[str]) -> None:
        layers = range(self.num_hidden_layers)
        if self.no_rope_layers:
            self._set(no_rope_layers=tuple(self.no_rope_layers))
        elif _is_int(self.no_rope_layer_interval) and self.no_rope_layer_interval > 0:
            self._set(no_rope_layers=tuple(int((i + 1) % self.no_rope_layer_interval != 0) for i in layers))
        else:
            problems.append(f"no_rope_layer_interval: expected a positive int, got {self.no_rope_layer_interval!r}")
            return
        if not self._has_one_per_layer("no_rope_layers", problems):
            return
        if self.moe_layers is not None:
            self._set(moe_layers=tuple(self.moe_layers))
        elif _is_int(self.interleave_moe_layer_step) and self.interleave_moe_layer_step > 0:
            step = self.interleave_moe_layer_step
            self._set(moe_layers=tuple(range(step - 1, self.num_hidden_layers, step)))
        else:
            problems.append(
                f"interleave_moe_layer_step: expected a positive int while moe_layers is None, "
                f"got {self.interleave_moe_layer_step!r}"
            )
        if self.layer_types is None:
            self._set(layer_types=tuple(LAYER_TYPES[0] if rope else LAYER_TYPES[1] for rope in self.no_rope_layers))
        else:
            self._set(layer_types=tuple(self.layer_types))

    def _has_one_per_layer(self, name: str, problems: list[str]) -> bool:
        given, expected = len(getattr(self, name)), self.num_hidden_layers
        if given != expected:
            problems.append(f"{name}: expected {expected} entries, one per layer, got {given}")
        return given == expected

    def _wrong_layers(self) -> list[str]:
        problems: list[str] = []
        self._has_one_per_layer("layer_types", problems)
        if set(self.no_rope_layers) - {0, 1}:
            problems.append(f"no_rope_layers: expected 0 (no rope) and 1 (rope) only, got {list(self.no_rope_layers)}")
        unknown = sorted(set(self.layer_types) - set(LAYER_TYPES))
        if unknown:
            problems.append(f"layer_types: expected {' or '.join(LAYER_TYPES)}, got {unknown}")
        if self.attention_chunk_size is None and LAYER_TYPES[0] in self.layer_types:
            problems.append("attention_chunk_size: None, but layer_types has chunked_attention")
        outside = [i for i in self.moe_layers if not _is_int(i) or not 0 <= i < self.num_hidden_layers]
        if outside:
            problems.append(f"moe_layers: expected layers 0 to {self.num_hidden_layers - 1}, got {outside}")
        if len(set(self.moe_layers)) < len(self.moe_layers):
            problems.append(f"moe_layers: expected each layer once, got {list(self.moe_layers)}")
        experts, chosen = self.num_local_experts, self.num_experts_per_tok
        if self.moe_layers and not (_is_int(experts) and _is_int(chosen) and 1 <= chosen <= experts):
            problems.append(
                f"num_experts_per_tok: expected 1 to num_local_experts, {experts!r}, while moe_layers is not empty, "
                f"got {chosen!r}"
            )
        return problems

    @classmethod
    def from_hf(cls, config: Any) -> "Llama4TextConfig":
        """From any object whose `to_dict()` is an HF text or composite configuration."""
        return cls.from_dict(config.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Llama4TextConfig":
        """From the content of a `config.json`, old or new; of a composite one the text half is taken.

        Raises ConfigError naming every key that is neither a field nor listed as irrelevant.
        """
        if "text_config" in data:
            unknown = sorted(set(data) - COMPOSITE_IRRELEVANT - IRRELEVANT - {"text_config", "model_type"})
            problems = [f"{key}: unknown key beside text_config" for key in unknown] + wrong_irrelevant(data)
            if data.get("model_type", COMPOSITE_TYPE) != COMPOSITE_TYPE:
                problems.append(
                    f"model_type: expected {COMPOSITE_TYPE!r} beside text_config, got {data['model_type']!r}"
                )
            return cls._from_text_dict(data["text_config"] or {}, problems)
        return cls._from_text_dict(data, [])

    @classmethod
    def _from_text_dict(cls, data: Mapping[str, Any], problems: list[str]) -> "Llama4TextConfig":
        names = {field.name for field in dataclasses.fields(cls)}
        known = names | IRRELEVANT | TOP_LEVEL_ROPE_KEYS | {"model_type"}
        problems = problems + [f"{key}: unknown key" for key in sorted(set(data) - known)] + wrong_irrelevant(data)
        if data.get("model_type", MODEL_TYPE) != MODEL_TYPE:
            problems.append(f"model_type: expected {MODEL_TYPE!r}, got {data['model_type']!r}")
        fields = {name: data[name] for name in names & set(data)}
        fields["rope_parameters"] = gather_rope(data, problems)
        try:
            config = cls(**fields)
        except ConfigError as error:
            raise ConfigError(problems + list(error.problems)) from None
        if problems:
            raise ConfigError(problems)
        return config

    @classmethod
    def from_json(cls, source: str | Path) -> "Llama4TextConfig":
        """From JSON text, or from the path of a `config.json` or of the folder it is in."""
        if isinstance(source, str) and source.lstrip().startswith("{"):
            return cls.from_dict(json.loads(source))
        path = Path(source)
        if path.is_dir():
            path = path / "config.json"
        return cls.from_dict(json.loads(path.read_text()))

    def to_dict(self) -> dict[str, Any]:
        """JSON values under HF's names, derived fields expanded; `from_dict` gives back an equal value."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        del values["num_labels"]  # HF: the number of names
        return values | {
            "rope_parameters": self.rope_parameters.to_dict(),
            "id2label": {str(i): name for i, name in enumerate(self.id2label)},
            "label2id": {name: i for i, name in enumerate(self.id2label)},
            "model_type": MODEL_TYPE,
        }


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
