"""Frozen dataclasses of arrays that are pytrees, and their dictionaries and JSON."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class PyTree:
    """Base of everything that models take and return besides arrays; a subclass registers itself as a pytree."""

    _classes: ClassVar[dict[str, type["PyTree"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._classes[cls.__name__] = cls

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Fields that are present, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; raises TypeError for a name that is no field."""
        return cls(**data)

    def to_json(self, **kwargs: Any) -> str:
        """Standard JSON, arrays as dtype, shape and base64 of their bytes in C order; `kwargs` go to `json.dumps`."""
        return json.dumps(_encode(self), allow_nan=False, **kwargs)

    @classmethod
    def from_json(cls, json_str: str) -> Self:
        """The inverse of `to_json`, bit for bit; raises ValueError for the JSON of another class."""
        found = _decode(json.loads(json_str))
        if type(found) is not cls:
            raise ValueError(f"from_json: expected the JSON of a {cls.__name__}, got that of a {type(found).__name__}")
        return found


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PyTree):
        return {"class": type(value).__name__, "fields": {k: _encode(v) for k, v in value.to_dict().items()}}
    if isinstance(value, dict):
        return {"dict": {key: _encode(item) for key, item in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, jax.Array | np.ndarray):
        array = np.asarray(value)
        data = base64.b64encode(array.tobytes()).decode()
        return {"array": data, "dtype": array.dtype.name, "shape": list(array.shape)}
    raise TypeError(f"to_json: expected arrays, numbers, words, tuples and dicts of them, got {type(value).__name__}")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "class" in value:
        fields = {name: _decode(item) for name, item in value["fields"].items()}
        return PyTree._classes[value["class"]].from_dict(fields)
    if "dict" in value:
        return {key: _decode(item) for key, item in value["dict"].items()}
    if "tuple" in value:
        return tuple(_decode(item) for item in value["tuple"])
    array = np.frombuffer(base64.b64decode(value["array"]), dtype=jnp.dtype(value["dtype"]))
    return jnp.asarray(array.reshape(value["shape"]))
