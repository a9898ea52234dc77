"""The text configuration: HF's field names and defaults, every derived field filled in, nothing taken unread."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax_llama4.config_base import (
    FILLED_IN,
    HalfConfig,
    is_int,
    wrong_flags,
    wrong_positive_ints,
    wrong_reals,
)
from jax_llama4.config_rope import complete_rope

LAYER_TYPES = ("chunked_attention", "full_attention")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

_POSITIVE_INTS = (
    "vocab_size hidden_size intermediate_size intermediate_size_mlp num_hidden_layers num_attention_heads "
    "num_key_value_heads head_dim max_position_embeddings floor_scale"
).split()
_FLAGS = "use_cache tie_word_embeddings use_qk_norm output_router_logits attn_temperature_tuning attention_bias".split()
_REALS = "initializer_range rms_norm_eps attn_scale".split()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama4TextConfig(HalfConfig):
    """Sizes and switches of a Llama 4 text model.

    A value is hashable, and complete once constructed: `moe_layers`, `no_rope_layers` and `layer_types` are tuples.
    Raises ConfigError with every problem at once. Source: HF `Llama4TextConfig`.
    """

    model_type = "llama4_text"
    half = "text"

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
    moe_layers: tuple[int, ...] = FILLED_IN
    interleave_moe_layer_step: int = 1
    use_qk_norm: bool = True
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001
    router_jitter_noise: float = 0.0
    no_rope_layers: tuple[int, ...] = FILLED_IN  # 1 means the layer uses rope
    no_rope_layer_interval: int = 4
    attention_chunk_size: int | None = 8192
    layer_types: tuple[str, ...] = FILLED_IN
    attn_temperature_tuning: bool = True
    floor_scale: int = 8192
    attn_scale: float = 0.1
    attention_bias: bool = False
    # Sequence classification only.
    num_labels: int = FILLED_IN
    id2label: tuple[str, ...] = FILLED_IN
    problem_type: str | None = None

    def __post_init__(self):
        problems: list[str] = []
        self._set(rope_parameters=complete_rope(self.rope_parameters, problems, self.max_position_embeddings))
        self._fill_sizes(problems)
        self._fill_labels(problems)
        problems += self._wrong_scalars()
        if not problems:  # the lists below are derived from the numbers checked above
            self._fill_layers(problems)
        if not problems:
            problems += self._wrong_layers()
        self._refuse(problems)

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
        if not is_int(count) or count < 1:
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
        problems = wrong_positive_ints(self, _POSITIVE_INTS) + wrong_flags(self, _FLAGS) + wrong_reals(self, _REALS)
        if not problems and self.rms_norm_eps <= 0:
            problems.append(f"rms_norm_eps: expected a number above 0, got {self.rms_norm_eps!r}")
        if self.hidden_act != "silu":
            problems.append(f"hidden_act: expected 'silu', got {self.hidden_act!r}")
        if self.attention_chunk_size is not None and (
            not is_int(self.attention_chunk_size) or self.attention_chunk_size < 1
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
        elif is_int(self.no_rope_layer_interval) and self.no_rope_layer_interval > 0:
            self._set(no_rope_layers=tuple(int((i + 1) % self.no_rope_layer_interval != 0) for i in layers))
        else:
            problems.append(f"no_rope_layer_interval: expected a positive int, got {self.no_rope_layer_interval!r}")
            return
        if not self._has_one_per_layer("no_rope_layers", problems):
            return
        if self.moe_layers is not None:
            self._set(moe_layers=tuple(self.moe_layers))
        elif is_int(self.interleave_moe_layer_step) and self.interleave_moe_layer_step > 0:
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
        outside = [i for i in self.moe_layers if not is_int(i) or not 0 <= i < self.num_hidden_layers]
        if outside:
            problems.append(f"moe_layers: expected layers 0 to {self.num_hidden_layers - 1}, got {outside}")
        if len(set(self.moe_layers)) < len(self.moe_layers):
            problems.append(f"moe_layers: expected each layer once, got {list(self.moe_layers)}")
        experts, chosen = self.num_local_experts, self.num_experts_per_tok
        if self.moe_layers and not (is_int(experts) and is_int(chosen) and 1 <= chosen <= experts):
            problems.append(
                f"num_experts_per_tok: expected 1 to num_local_experts, {experts!r}, while moe_layers is not empty, "
                f"got {chosen!r}"
            )
        return problems

    def get_text_config(self) -> "Llama4TextConfig":
        """Itself; of a composite configuration, the text half."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON values under HF's names, derived fields expanded; `from_dict` gives back an equal value."""
        values = super().to_dict()
        del values["num_labels"]  # HF: the number of names
        return values | {
            "id2label": {str(i): name for i, name in enumerate(self.id2label)},
            "label2id": {name: i for i, name in enumerate(self.id2label)},
        }
