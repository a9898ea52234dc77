"""Ways to be wrong about Llama 4's attention, as replacements of HF's functions: each gets the original first."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.models.llama4 import modeling_llama4 as hf

Original = Callable[..., Any]

# Rotary embedding


def rope_by_halves(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    return rotated_by_halves(xq, freqs_cis), rotated_by_halves(xk, freqs_cis)


def rope_written_by_halves(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs are read, halves are written."""
    return _rotated(xq, freqs_cis, _pairs, _joined), _rotated(xk, freqs_cis, _pairs, _joined)


def rope_backwards(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    return original(xq, xk, freqs_cis.conj())


def rope_parts_swapped(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    """The sine is taken for the cosine and the other way round."""
    return original(xq, xk, torch.complex(freqs_cis.imag, freqs_cis.real))


def rope_missing(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    return xq.clone(), xk.clone()


def rope_on_queries_only(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    return original(xq, xk, freqs_cis)[0], xk.clone()


def rope_on_keys_only(original: Original, xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    return xq.clone(), original(xq, xk, freqs_cis)[1]


def _pairs(x: Tensor, parts: int, dim: int) -> tuple[Tensor, ...]:
    return x[..., ::parts], x[..., 1::parts]


def _joined(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=-1)


def _rotated(x: Tensor, freqs: Tensor, read: Callable[..., Any], write: Callable[..., Tensor]) -> Tensor:
    cos, sin = freqs.real[:, :, None], freqs.imag[:, :, None]
    first, second = read(x, 2, dim=-1)
    return write(first * cos - second * sin, first * sin + second * cos)


def rotated_by_halves(x: Tensor, freqs: Tensor) -> Tensor:
    """The first half of a head is the real part, the second the imaginary one."""
    return _rotated(x, freqs, torch.chunk, _joined)


def positions_within_a_piece(original: Original, self: Any, x: Tensor, position_ids: Tensor) -> Tensor:
    return original(self, x, position_ids - position_ids[:, :1])


def positions_by_slot(original: Original, self: Any, *args: Any, **kwargs: Any) -> Any:
    """HF's own default where it is given no positions: padding is counted."""
    return original(self, *args, **kwargs | {"position_ids": None})


def _turning(position_ids: Tensor, frequencies: Tensor) -> Tensor:
    angles = position_ids[..., None].float() * frequencies
    return torch.polar(torch.ones_like(angles), angles)


def frequencies_by_pair(original: Original, self: Any, x: Tensor, position_ids: Tensor) -> Tensor:
    """Pair i turns with theta^(-i/H), not with theta^(-2i/H)."""
    return _turning(position_ids, self.inv_freq.float() ** 0.5)


def frequencies_smoothed_backwards(original: Original, self: Any, x: Tensor, position_ids: Tensor) -> Tensor:
    """A pair within the band has as much of the scaled frequency as it is to have of the plain one."""
    plain, _ = self.compute_default_rope_parameters(self.config)
    scaled = plain / self.config.rope_parameters["factor"]
    within = (self.inv_freq != plain) & (self.inv_freq != scaled)
    return _turning(position_ids, torch.where(within, plain + scaled - self.inv_freq, self.inv_freq))


# Which layers use rope. HF decides when a layer is built.


def _layers_with_rope(original: Original, self: Any, config: Any, layer_idx: int, chosen: Any) -> None:
    other = copy.copy(config)
    other.no_rope_layers = chosen(config.no_rope_layers)
    original(self, other, layer_idx)
    self.config = config


rope_on_every_layer = partial(_layers_with_rope, chosen=lambda layers: [1] * len(layers))
rope_on_no_layer = partial(_layers_with_rope, chosen=lambda layers: [0] * len(layers))
rope_on_the_other_layers = partial(_layers_with_rope, chosen=lambda layers: [1 - layer for layer in layers])
rope_one_layer_late = partial(_layers_with_rope, chosen=lambda layers: [layers[-1], *layers[:-1]])
rope_one_layer_early = partial(_layers_with_rope, chosen=lambda layers: [*layers[1:], layers[0]])

# Which layers chunk. HF decides when the model is built.


def _layer_types(original: Original, self: Any, config: Any, other: Callable[[list[str]], list[str]]) -> None:
    config.layer_types = other(config.layer_types)
    original(self, config)


_OTHER_TYPE = {"full_attention": "chunked_attention", "chunked_attention": "full_attention"}
chunks_on_the_other_layers = partial(_layer_types, other=lambda types: [_OTHER_TYPE[kind] for kind in types])
chunks_one_layer_late = partial(_layer_types, other=lambda types: [types[-1], *types[:-1]])
chunks_one_layer_early = partial(_layer_types, other=lambda types: [*types[1:], types[0]])
chunks_on_every_layer = partial(_layer_types, other=lambda types: ["chunked_attention"] * len(types))
chunks_on_no_layer = partial(_layer_types, other=lambda types: ["full_attention"] * len(types))

# Attention


def qk_norm_on_every_layer(original: Original, self: Any, config: Any, layer_idx: int) -> None:
    original(self, config, layer_idx)
    if config.use_qk_norm:
        self.qk_norm = hf.Llama4TextL2Norm(config.rms_norm_eps)


def _attend(
    original: Original,
    self: Any,
    hidden_states: Tensor,
    position_embeddings: Tensor,
    attention_mask: Tensor,
    past_key_values: Any = None,
    *,
    norm: str = "after rope",
    tuned: Callable[[Any], bool] = lambda self: self.attn_temperature_tuning and not self.use_rope,
    scale: Callable[[Any, Tensor], Tensor] | None = None,
    counted: str = "in the row",
    on: tuple[str, ...] = ("queries",),
    heads: str = "outermost",
    permuted: tuple[str, ...] = (),
    kept: str = "after rope",
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """HF's forward of the attention with one of its steps another."""
    shape = (*hidden_states.shape[:-1], *((-1, self.head_dim) if heads == "outermost" else (self.head_dim, -1)))
    query, key, value = (project(hidden_states).view(shape) for project in (self.q_proj, self.k_proj, self.v_proj))
    if heads == "innermost":
        query, key, value = (each.transpose(2, 3).contiguous() for each in (query, key, value))
    query = _joined(*_pairs(query, 2, -1)) if "queries" in permuted else query
    key = _joined(*_pairs(key, 2, -1)) if "keys" in permuted else key
    unrotated = key.transpose(1, 2)
    normed = hasattr(self, "qk_norm")
    if normed and norm == "before rope":
        query, key = self.qk_norm(query), self.qk_norm(key)
    if self.use_rope:
        query, key = hf.apply_rotary_emb(query, key, position_embeddings)
    if normed and norm == "after rope":
        query, key = self.qk_norm(query), self.qk_norm(key)
    if normed and norm == "of queries":
        query = self.qk_norm(query)
    if normed and norm == "of keys":
        key = self.qk_norm(key)
    if tuned(self):
        past = past_key_values.get_seq_length(self.layer_idx) if past_key_values and counted == "in the row" else 0
        slots = (torch.arange(hidden_states.shape[1]) + past)[None]
        if counted == "by position":
            slots = self.position_ids
        factors = (scale or _temperature)(self, slots.float())[:, :, None, None]
        query = query * factors if "queries" in on else query
        key = key * factors if "keys" in on else key
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if past_key_values is not None:
        new = unrotated if kept == "before rope" else key
        keys, value = past_key_values.update(new, value, self.layer_idx)
        key = torch.cat([keys[:, :, : -key.shape[2]], key], dim=2)
    mixed, weights = hf.eager_attention_forward(self, query, key, value, attention_mask, scaling=self.scaling)
    return self.o_proj(mixed.reshape(*hidden_states.shape[:-1], -1)), weights


def _temperature(self: Any, slots: Tensor, first: float = 1.0) -> Tensor:
    return torch.log1p(torch.floor((slots + first) / self.floor_scale)) * self.attn_scale + 1.0


def _always(self: Any) -> bool:
    return self.attn_temperature_tuning


qk_norm_before_rope = partial(_attend, norm="before rope")
qk_norm_of_queries = partial(_attend, norm="of queries")
qk_norm_of_keys = partial(_attend, norm="of keys")
temperature_from_0 = partial(_attend, scale=partial(_temperature, first=0.0))
temperature_from_2 = partial(_attend, scale=partial(_temperature, first=2.0))
temperature_without_floor = partial(
    _attend, scale=lambda self, slots: torch.log1p((slots + 1.0) / self.floor_scale) * self.attn_scale + 1.0
)
temperature_by_plain_log = partial(
    _attend,
    scale=lambda self, slots: (
        torch.log(torch.floor((slots + 1.0) / self.floor_scale).clamp(min=1.0)) * self.attn_scale + 1.0
    ),
)
temperature_without_one = partial(_attend, scale=lambda self, slots: _temperature(self, slots) - 1.0)
temperature_on_every_layer = partial(_attend, tuned=_always)
temperature_on_rope_layers = partial(_attend, tuned=lambda self: self.attn_temperature_tuning and self.use_rope)
temperature_within_a_piece = partial(_attend, counted="in the piece")
temperature_by_position = partial(_attend, counted="by position")
temperature_on_keys = partial(_attend, on=("keys",))
temperature_on_keys_too = partial(_attend, on=("queries", "keys"))
heads_innermost = partial(_attend, heads="innermost")
queries_permuted = partial(_attend, permuted=("queries",))
queries_and_keys_permuted = partial(_attend, permuted=("queries", "keys"))
keys_kept_before_rope = partial(_attend, kept="before rope")


def with_positions(original: Original, self: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Leaves the positions where `temperature_by_position` finds them."""
    self.self_attn.position_ids = kwargs["position_ids"]
    return original(self, *args, **kwargs)


def _scored(original: Original, module: Any, *args: Any, by: Callable[[Any], float], **kwargs: Any) -> Any:
    return original(module, *args, **kwargs | {"scaling": by(module)})


scale_missing = partial(_scored, by=lambda module: 1.0)
scale_by_model_width = partial(_scored, by=lambda module: module.config.hidden_size**-0.5)
scale_without_root = partial(_scored, by=lambda module: 1.0 / module.head_dim)
scale_by_derived_width = partial(
    _scored, by=lambda module: (module.config.hidden_size // module.config.num_attention_heads) ** -0.5
)


def heads_and_width_exchanged(original: Original, *args: Any, **kwargs: Any) -> Any:
    """The heads' results are laid out with their width outermost."""
    mixed, weights = original(*args, **kwargs)
    return mixed.transpose(2, 3).reshape(mixed.shape), weights


def softmax_over_queries(
    original: Original, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any
) -> Any:
    groups = module.num_key_value_groups
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    weights = torch.softmax(query @ key.transpose(2, 3) * kwargs["scaling"] + mask, dim=-2)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def _attended(
    original: Original, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any
) -> Any:
    """HF's function with the keys, or the values, of each head tiled over the queries' heads."""
    tiled, groups = kwargs.pop("tiled"), module.num_key_value_groups
    key, value = (
        each.repeat(1, groups, 1, 1) if name == tiled else each.repeat_interleave(groups, dim=1)
        for name, each in (("keys", key), ("values", value))
    )
    weights = torch.softmax(query @ key.transpose(2, 3) * kwargs["scaling"] + mask, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


keys_tiled = partial(_attended, tiled="keys")
values_tiled = partial(_attended, tiled="values")


def kv_heads_tiled(original: Original, hidden_states: Tensor, n_rep: int) -> Tensor:
    return hidden_states.repeat(1, n_rep, 1, 1)
