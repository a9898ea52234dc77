"""The configuration of the multimodal model: a text half, a vision half, and the tokens that stand for images."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from jax_llama4.config import Llama4TextConfig
from jax_llama4.config_base import COMPOSITE_TYPE, Config, ConfigError, is_composite, is_int, wrong_composite_keys
from jax_llama4.config_vision import Llama4VisionConfig

# Each with HF's newer name for it.
_TOKENS = {
    "boi_token_index": "boi_token_id",
    "eoi_token_index": "eoi_token_id",
    "image_token_index": "image_token_id",
}
_HALVES = {"text_config": Llama4TextConfig, "vision_config": Llama4VisionConfig}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama4Config(Config):
    """Both halves of a Llama 4 multimodal model, and its image tokens.

    A value is hashable. Whether the head is tied is said by the text half, as in HF. Raises ConfigError with every
    problem at once. Source: HF `Llama4Config`.
    """

    model_type = COMPOSITE_TYPE

    text_config: Llama4TextConfig
    vision_config: Llama4VisionConfig
    boi_token_index: int = 200080
    eoi_token_index: int = 200081
    image_token_index: int = 200092  # <|patch|>, each of which is replaced by one feature vector

    def __post_init__(self):
        problems = [
            f"{name}: expected a {half.__name__}, got {getattr(self, name)!r}"
            for name, half in _HALVES.items()
            if not isinstance(getattr(self, name), half)
        ]
        if not problems and self.vision_config.vision_output_dim != self.vision_config.projector_output_dim:
            problems.append(
                f"vision_config.vision_output_dim: {self.vision_config.vision_output_dim} is not projector_output_dim, "
                f"{self.vision_config.projector_output_dim}, but the multimodal projector takes what the adapter gives"
            )
        self._refuse(problems + _wrong_tokens(vars(self)))

    @property
    def image_token_id(self) -> int:
        """HF's newer name, as are the next two."""
        return self.image_token_index

    @property
    def boi_token_id(self) -> int:
        return self.boi_token_index

    @property
    def eoi_token_id(self) -> int:
        return self.eoi_token_index

    def get_text_config(self) -> Llama4TextConfig:
        """The text half."""
        return self.text_config

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the content of a multimodal `config.json`, old or new; a half that is missing has HF's defaults.

        Raises ConfigError with everything wrong in it and in its halves, whose fields are named with their half.
        """
        if not is_composite(data):
            expected = f"model_type: expected {COMPOSITE_TYPE!r} with {' and '.join(_HALVES)}"
            cls._refuse([f"{expected}, got {data.get('model_type')!r} with neither"])
        problems = wrong_composite_keys(data, "multimodal")
        fields: dict[str, Any] = {}
        for name, half in _HALVES.items():
            try:
                fields[name] = half.from_own_dict(data.get(name) or {}, [])
            except ConfigError as error:
                problems += [f"{name}.{problem}" for problem in error.problems]
        for name, alias in _TOKENS.items():
            given = [data[key] for key in (name, alias) if key in data]
            if given and given[0] != given[-1]:
                problems.append(f"{name}: {data[name]!r} differs from {alias}, {data[alias]!r}")
            if given:
                fields[name] = given[0]
        if _HALVES.keys() - fields.keys():
            cls._refuse(problems + _wrong_tokens(fields))
        return cls._made_of(fields, problems)

    def to_dict(self) -> dict[str, Any]:
        """JSON values under HF's names; `from_dict` gives back an equal value."""
        return {
            "text_config": self.text_config.to_dict(),
            "vision_config": self.vision_config.to_dict(),
            **{name: getattr(self, name) for name in _TOKENS},
            "model_type": self.model_type,
        }


def _wrong_tokens(values: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: expected a token id of 0 or more, got {values[name]!r}"
        for name in _TOKENS
        if name in values and (not is_int(values[name]) or values[name] < 0)
    ]
