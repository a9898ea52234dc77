"""The rope part of the configuration: its parameters, and the older keys they may come from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

# Top-level keys of older files that end up in `rope_parameters`.
TOP_LEVEL_ROPE_KEYS = frozenset({"rope_theta", "rope_scaling", "partial_rotary_factor"})

TEXT_THETA = 500000.0

_DEFAULT_KEYS = frozenset({"rope_type", "rope_theta"})
_LLAMA3_KEYS = _DEFAULT_KEYS | {
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
}

# Default of fields that `complete_rope` never leaves None where they are read: Any, so that readers need not ask.
_LLAMA3_ONLY: Any = None


@dataclasses.dataclass(frozen=True)
class RopeParameters:
    """How inverse frequencies are made; the last four fields are read for `llama3` only."""

    rope_theta: float = TEXT_THETA
    rope_type: str = "default"
    factor: float = _LLAMA3_ONLY
    low_freq_factor: float = _LLAMA3_ONLY
    high_freq_factor: float = _LLAMA3_ONLY
    original_max_position_embeddings: int = _LLAMA3_ONLY

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as HF writes them."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def gather_rope(data: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """One dict from `rope_parameters`, or from the older `rope_scaling` beside `rope_theta`."""
    new, old = data.get("rope_parameters"), data.get("rope_scaling")
    if new and old and dict(new) != dict(old):
        problems.append(f"rope_scaling: differs from rope_parameters, {dict(old)} against {dict(new)}")
    rope = dict(new or old or {})
    theta = data.get("rope_theta")
    if theta is not None and rope.setdefault("rope_theta", theta) != theta:
        problems.append(f"rope_theta: {theta!r} differs from the {rope['rope_theta']!r} of rope_parameters")
    if data.get("partial_rotary_factor") is not None:
        rope.setdefault("partial_rotary_factor", data["partial_rotary_factor"])
    return rope


def complete_rope(
    given: Any, problems: list[str], max_position_embeddings: int | None = None, default_theta: float = TEXT_THETA
) -> RopeParameters:
    """Rope parameters with every default filled in; what is wrong with them is added to `problems`.

    Without `max_position_embeddings`, as for images, `llama3` is refused: it scales by a length of text.
    """
    if isinstance(given, RopeParameters):
        given = given.to_dict()
    rope = {key: value for key, value in dict(given or {}).items() if value is not None}
    old_name = rope.pop("type", None)
    rope_type = rope.setdefault("rope_type", old_name or "default")
    if rope.pop("partial_rotary_factor", 1.0) != 1.0:
        problems.append("rope_parameters.partial_rotary_factor: expected 1.0, rope over part of a head is not computed")
    types = ("default",) if max_position_embeddings is None else ("default", "llama3")
    if rope_type not in types:
        expected = " or ".join(map(repr, types))
        problems.append(f"rope_parameters.rope_type: expected {expected}, got {rope_type!r}")
        return RopeParameters()
    rope.setdefault("rope_theta", default_theta)
    allowed = _DEFAULT_KEYS
    if rope_type == "llama3":
        allowed = _LLAMA3_KEYS
        # HF: the same default, which is rarely what is meant.
        rope.setdefault("original_max_position_embeddings", max_position_embeddings)
        missing = sorted(_LLAMA3_KEYS - set(rope) - {"rope_theta"})
        problems += [f"rope_parameters.{key}: missing, rope_type 'llama3' needs it" for key in missing]
    extra = sorted(set(rope) - allowed)
    problems += [f"rope_parameters.{key}: unknown key for rope_type {rope_type!r}" for key in extra]
    for key in sorted(allowed & set(rope) - {"rope_type"}):
        if isinstance(rope[key], bool) or not isinstance(rope[key], int | float) or rope[key] <= 0:
            problems.append(f"rope_parameters.{key}: expected a positive number, got {rope[key]!r}")
    return RopeParameters(**{key: rope[key] for key in allowed & set(rope)})
