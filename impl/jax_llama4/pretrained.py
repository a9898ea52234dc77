"""What every top-level class can do with checkpoints: build itself from HF's tensors and folders, and write them."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from jax_llama4.checkpoint import load_state_dict
from jax_llama4.config import Llama4TextConfig
from jax_llama4.precision import Numerics


class Pretrained:
    """Mixin of `nnx.Module` classes whose constructor takes (config, *, numerics, rngs)."""

    # Where the class sits in the causal language model, under whose names checkpoint.RULES lists the parameters.
    checkpoint_root: ClassVar[str] = ""

    @classmethod
    def from_state_dict(cls, config: Llama4TextConfig, state: Mapping[str, Any], *, numerics: Numerics) -> Self:
        """Build the model from HF tensors by name; raises CheckpointError. See `checkpoint.load_tensors`."""
        return load_state_dict(config, state, numerics, cls)
