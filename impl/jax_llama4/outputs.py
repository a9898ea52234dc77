"""What the models return: pytrees with HF's field names, absent fields None."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class ModelOutput:
    """A frozen dataclass of arrays that is also a pytree."""

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Fields that are present, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MoeModelOutputWithPast(ModelOutput):
    """Output of `Llama4TextModel`.

    `hidden_states`, where asked for, are L + 1 arrays: embeddings, outputs of layers 0 … L - 2, and the last layer's
    output after the final norm. `router_logits` has one (M, E) array per mixture layer, M = B · T.
    """

    last_hidden_state: Float[Array, "B T D"]
    past_key_values: None = None
    hidden_states: tuple[Float[Array, "B T D"], ...] | None = None
    attentions: None = None
    router_logits: tuple[Float[Array, "M E"], ...] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Llama4CausalLMOutputWithPast(ModelOutput):
    """Output of `Llama4ForCausalLM`; the text model fills neither cache, attentions nor image features."""

    loss: Float[Array, ""] | None = None
    logits: Float[Array, "B T V"] | None = None
    past_key_values: None = None
    hidden_states: tuple[Float[Array, "B T D"], ...] | None = None
    attentions: None = None
    image_hidden_states: None = None
    router_logits: tuple[Float[Array, "M E"], ...] | None = None
