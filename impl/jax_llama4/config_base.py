"""What the configurations share: their error, reading and writing of HF's dictionaries, checks of single values."""

import abc
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from jax_llama4.config_keys import COMPOSITE_KEYS, IRRELEVANT, wrong_irrelevant
from jax_llama4.config_rope import TOP_LEVEL_ROPE_KEYS, RopeParameters, gather_rope

COMPOSITE_TYPE = "llama4"

# Default of fields that never stay None: of type Any, so that readers need not ask.
FILLED_IN: Any = None


class ConfigError(ValueError):
    """Everything wrong with one configuration; `problems` has one line each."""

    def __init__(self, class_name: str, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__(f"{class_name}:" + "".join(f"\n  {problem}" for problem in problems))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(abc.ABC):
    """Base of the configurations: frozen, checked when made, read from and written as HF's dictionaries."""

    model_type: ClassVar[str]

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _refuse(cls, problems: Sequence[str]) -> None:
        if problems:
            raise ConfigError(cls.__name__, problems)

    @classmethod
    def _made_of(cls, fields: Mapping[str, Any], problems: Sequence[str]) -> Self:
        """The value with these fields; raises ConfigError with `problems` and its own."""
        try:
            config = cls(**fields)
        except ConfigError as error:
            raise ConfigError(cls.__name__, [*problems, *error.problems]) from None
        cls._refuse(problems)
        return config

    @classmethod
    def from_hf(cls, config: Any) -> Self:
        """From any object whose `to_dict()` is an HF configuration of this kind or a composite one."""
        return cls.from_dict(config.to_dict())

    @classmethod
    @abc.abstractmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the content of a `config.json`; raises ConfigError."""

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """From JSON text, or from the path of a `config.json` or of the folder it is in."""
        if isinstance(source, str) and source.lstrip().startswith("{"):
            return cls.from_dict(json.loads(source))
        path = Path(source)
        if path.is_dir():
            path = path / "config.json"
        return cls.from_dict(json.loads(path.read_text()))

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON values under HF's names; `from_dict` gives back an equal value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfConfig(Config):
    """Base of the text and the vision configuration, which are also the halves of a composite one."""

    half: ClassVar[str]  # text or vision
    irrelevant: ClassVar[frozenset[str]] = frozenset()  # beside IRRELEVANT

    rope_parameters: RopeParameters = FILLED_IN

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the content of a `config.json`, old or new; of a composite one its half is taken.

        Raises ConfigError naming every key that is neither a field nor listed as irrelevant.
        """
        if not is_composite(data):
            return cls.from_own_dict(data, [])
        name = f"{cls.half}_config"
        problems = wrong_composite_keys(data, cls.half)
        if "text_config" not in data and "vision_config" not in data:
            problems.append(f"{name}: missing, as expected of model_type {COMPOSITE_TYPE!r}")
        return cls.from_own_dict(data.get(name) or {}, problems)

    @classmethod
    def from_own_dict(cls, data: Mapping[str, Any], problems: Sequence[str]) -> Self:
        """As `from_dict` of what is no composite; raises ConfigError with `problems` as well."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = names | IRRELEVANT | cls.irrelevant | TOP_LEVEL_ROPE_KEYS | {"model_type"}
        found = [*problems, *(f"{key}: unknown key" for key in sorted(set(data) - known))]
        found += wrong_irrelevant(data, cls.half)
        if data.get("model_type", cls.model_type) != cls.model_type:
            found.append(f"model_type: expected {cls.model_type!r}, got {data['model_type']!r}")
        fields = {name: data[name] for name in names & set(data)}
        fields["rope_parameters"] = gather_rope(data, found)
        return cls._made_of(fields, found)

    def to_dict(self) -> dict[str, Any]:
        """JSON values under HF's names, derived fields expanded; `from_dict` gives back an equal value."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return values | {"rope_parameters": self.rope_parameters.to_dict(), "model_type": self.model_type}


def is_composite(data: Mapping[str, Any]) -> bool:
    """Whether the content of a `config.json` is that of a multimodal model."""
    return "text_config" in data or "vision_config" in data or data.get("model_type") == COMPOSITE_TYPE


def wrong_composite_keys(data: Mapping[str, Any], kind: str) -> list[str]:
    """What is wrong with the keys beside the halves; `kind` is the model that has no use for them."""
    halves = [name for name in ("text_config", "vision_config") if name in data]
    beside = halves[0] if halves else f"model_type {COMPOSITE_TYPE!r}"
    unknown = sorted(set(data) - COMPOSITE_KEYS - IRRELEVANT)
    problems = [f"{key}: unknown key beside {beside}" for key in unknown] + wrong_irrelevant(data, kind)
    if data.get("model_type", COMPOSITE_TYPE) != COMPOSITE_TYPE:
        problems.append(f"model_type: expected {COMPOSITE_TYPE!r} beside {beside}, got {data['model_type']!r}")
    return problems


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def wrong_positive_ints(config: Any, names: Iterable[str]) -> list[str]:
    """A line for each of these fields that is no positive int."""
    values = {name: getattr(config, name) for name in names}
    return [
        f"{name}: expected a positive int, got {value!r}"
        for name, value in values.items()
        if not is_int(value) or value < 1
    ]


def wrong_flags(config: Any, names: Iterable[str]) -> list[str]:
    """A line for each of these fields that is no bool."""
    values = {name: getattr(config, name) for name in names}
    return [f"{name}: expected a bool, got {value!r}" for name, value in values.items() if not isinstance(value, bool)]


def wrong_reals(config: Any, names: Iterable[str]) -> list[str]:
    """A line for each of these fields that is no number, or else for each that is not finite."""
    values = {name: getattr(config, name) for name in names}
    problems = [
        f"{name}: expected a number, got {value!r}"
        for name, value in values.items()
        if isinstance(value, bool) or not isinstance(value, int | float)
    ]
    return problems or [
        f"{name}: expected a finite number, got {value!r}" for name, value in values.items() if not math.isfinite(value)
    ]
