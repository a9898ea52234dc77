"""What the tests of checkpoint folders share: models with drawn weights, tensors by the official reader, same bits."""

from pathlib import Path
from typing import Any

import numpy as np
from impl_cases import draw_weights
from safetensors.numpy import load_file

from jax_llama4 import Numerics
from jax_llama4.checkpoint import abstract_model, parameters

SHARDED = {"max_shard_bytes": 9000}


def drawn(model_class: Any, data: dict[str, Any], dtype: str = "bfloat16", **options: Any) -> Any:
    """A model of the configuration `data` whose weights are all drawn; `options` are the constructor's."""
    config, numerics = model_class.config_class.from_dict(data), Numerics.like_hf(dtype)
    wanted = parameters(abstract_model(model_class, config, numerics, **options))
    state = draw_weights({name: parameter.stored_shape for name, parameter in wanted.items()})
    return model_class.from_state_dict(config, state, numerics=numerics, **options)


def stored(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder, by the official reader."""
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].tobytes() == value.tobytes(), name
