"""Ways to be wrong about the rest of Llama 4's text model, as replacements of HF's functions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

Original = Callable[..., Any]

# Norms


def norm_missing(original: Original, self: Any, x: Tensor) -> Tensor:
    return x.clone()


def norm_gain_missing(original: Original, self: Any, x: Tensor) -> Tensor:
    return self._norm(x)


def norm_gain_from_one(original: Original, self: Any, x: Tensor) -> Tensor:
    return self._norm(x) * (1 + self.weight)


def norm_around_the_mean(original: Original, self: Any, x: Tensor) -> Tensor:
    return original(self, x - x.mean(-1, keepdim=True))


def _with_eps(original: Original, self: Any, x: Tensor, by: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps * by)


eps_times_10 = partial(_with_eps, by=10.0)
eps_by_10 = partial(_with_eps, by=0.1)
eps_missing = partial(_with_eps, by=0.0)


def eps_outside_the_root(original: Original, self: Any, x: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps)


def norm_by_sum(original: Original, self: Any, x: Tensor) -> Tensor:
    """Divided by the root of the sum of squares, not of their mean."""
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + self.eps)


def norm_over_all_heads(original: Original, self: Any, x: Tensor) -> Tensor:
    return original(self, x.flatten(2)).view_as(x)


# Mixture of experts and feed-forward


def _routed(original: Original, self: Any, hidden_states: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """The router with other scores, made of the logits and of which experts are chosen."""
    scores, logits = original(self, hidden_states)
    return score(logits, scores != 0), logits


def _softmax_of_chosen(logits: Tensor, chosen: Tensor) -> Tensor:
    return functional.softmax(logits.masked_fill(~chosen, float("-inf")), dim=-1)


def _normalised(logits: Tensor, chosen: Tensor) -> Tensor:
    scores = logits.sigmoid() * chosen
    return scores / scores.sum(-1, keepdim=True)


router_softmax = partial(_routed, score=lambda logits, chosen: functional.softmax(logits, dim=-1) * chosen)
router_softmax_of_chosen = partial(_routed, score=_softmax_of_chosen)
router_normalised = partial(_routed, score=_normalised)
router_without_score = partial(_routed, score=lambda logits, chosen: chosen.to(logits.dtype))
router_with_logits = partial(_routed, score=lambda logits, chosen: logits * chosen)
router_others_at_one_half = partial(_routed, score=lambda logits, chosen: logits.masked_fill(~chosen, 0.0).sigmoid())
router_of_all = partial(_routed, score=lambda logits, chosen: logits.sigmoid())


def router_of_the_least(original: Original, self: Any, hidden_states: Tensor) -> Any:
    logits = functional.linear(hidden_states, self.weight)
    least = torch.zeros_like(logits).scatter(1, logits.topk(self.top_k, dim=1, largest=False).indices, 1.0)
    return logits.sigmoid() * least, logits


def _moe(
    original: Original,
    self: Any,
    hidden_states: Tensor,
    *,
    before: Callable[[Tensor], Tensor] = lambda scores: scores,
    after: Callable[[Tensor], Tensor] = torch.ones_like,
    routed: float = 1.0,
    shared: float = 1.0,
    rows: str = "by expert",
) -> tuple[Tensor, Tensor]:
    """HF's forward of the mixture with one of its steps another."""
    tokens = hidden_states.reshape(-1, self.hidden_dim)
    scores, logits = self.router(tokens)
    experts = scores.shape[1]
    if rows == "by expert":
        taken = (tokens[None] * before(scores).T[:, :, None]).reshape(-1, self.hidden_dim)
        given = self.experts(taken).reshape(experts, -1, self.hidden_dim) * after(scores).T[:, :, None]
        mixed = given.sum(0)
    else:
        taken = (tokens[:, None] * scores[:, :, None]).reshape(-1, self.hidden_dim)
        mixed = self.experts(taken).reshape(-1, experts, self.hidden_dim).sum(1)
    return self.shared_expert(tokens) * shared + mixed * routed, logits


def _chosen(scores: Tensor) -> Tensor:
    return (scores != 0).to(scores.dtype)


def _within_capacity(scores: Tensor) -> Tensor:
    """Tokens beyond 1.25 of an expert's share are dropped."""
    room = -(-5 * scores.shape[0] // (4 * scores.shape[1]))
    return scores * ((scores != 0).cumsum(0) <= room)


def _share(scores: Tensor) -> Tensor:
    return torch.ones_like(scores) / (scores != 0).sum(1, keepdim=True)


experts_at_capacity = partial(_moe, before=_within_capacity)
routed_averaged = partial(_moe, after=_share)
score_after_expert = partial(_moe, before=torch.ones_like, after=lambda scores: scores)
score_nowhere = partial(_moe, before=_chosen)
score_before_and_after = partial(_moe, after=lambda scores: scores)
shared_missing = partial(_moe, shared=0.0)
shared_twice = partial(_moe, shared=2.0)
routed_missing = partial(_moe, routed=0.0)
routed_twice = partial(_moe, routed=2.0)
experts_by_token = partial(_moe, rows="by token")


def _mlp(original: Original, self: Any, x: Tensor, inner: Callable[[Any, Tensor, Tensor], Tensor]) -> Tensor:
    return self.down_proj(inner(self, self.gate_proj(x), self.up_proj(x)))


mlp_gate_on_up = partial(_mlp, inner=lambda self, gate, up: gate * self.activation_fn(up))
mlp_without_activation = partial(_mlp, inner=lambda self, gate, up: gate * up)
mlp_activated_product = partial(_mlp, inner=lambda self, gate, up: self.activation_fn(gate * up))
mlp_added = partial(_mlp, inner=lambda self, gate, up: self.activation_fn(gate) + up)
mlp_without_up = partial(_mlp, inner=lambda self, gate, up: self.activation_fn(gate))


def activated(original: Original, self: Any, x: Tensor, by: Callable[[Tensor], Tensor]) -> Tensor:
    """Another activation."""
    return by(x)


gelu_for_silu = partial(activated, by=functional.gelu)
gelu_by_tanh_for_silu = partial(activated, by=partial(functional.gelu, approximate="tanh"))
gelu_by_sigmoid_for_silu = partial(activated, by=lambda x: x * torch.sigmoid(1.702 * x))
relu_for_silu = partial(activated, by=functional.relu)
sigmoid_for_silu = partial(activated, by=torch.sigmoid)

# Residual stream, ends of the model, loss


def _layer(
    original: Original,
    self: Any,
    hidden_states: Tensor,
    *,
    attention_residual: Callable[[Tensor, Tensor], Any] = lambda x, normed: x,
    mlp_residual: Callable[[Tensor, Tensor], Any] = lambda x, normed: x,
    mlp_input: Callable[[Tensor, Tensor], Tensor] = lambda first, x: x,
    mlp_norm: str = "post_attention_layernorm",
    position_ids: Any = None,
    **kwargs: Any,
) -> Tensor:
    """HF's forward of a layer with other residuals, or another input of its feed-forward."""
    normed = self.input_layernorm(hidden_states)
    attended, _ = self.self_attn(hidden_states=normed, **kwargs)
    x = attention_residual(hidden_states, normed) + attended
    normed = getattr(self, mlp_norm)(mlp_input(hidden_states, x))
    out = self.feed_forward(normed)
    out = out[0] if self.is_moe_layer else out
    return mlp_residual(x, normed) + out.view(x.shape)


def _nothing(x: Tensor, normed: Tensor) -> float:
    return 0.0


def _of_normed(x: Tensor, normed: Tensor) -> Tensor:
    return normed


attention_residual_missing = partial(_layer, attention_residual=_nothing)
attention_residual_of_normed = partial(_layer, attention_residual=_of_normed)
mlp_residual_missing = partial(_layer, mlp_residual=_nothing)
mlp_residual_of_normed = partial(_layer, mlp_residual=_of_normed)
one_norm_for_both = partial(_layer, mlp_norm="input_layernorm")
mlp_beside_attention = partial(_layer, mlp_input=lambda first, x: first)


def embeddings_scaled(original: Original, self: Any, tokens: Tensor) -> Tensor:
    return original(self, tokens) * self.embedding_dim**0.5


def stream_scaled(original: Original, self: Any, input_ids: Tensor | None = None, **kwargs: Any) -> Any:
    """The embeddings are scaled, and so are the features of pictures in their place."""
    embeds = self.embed_tokens(input_ids) if input_ids is not None else kwargs["inputs_embeds"]
    return original(self, **kwargs | {"inputs_embeds": embeds * self.config.hidden_size**0.5})


def final_norm_missing(original: Original, self: Any, *args: Any, **kwargs: Any) -> Any:
    self.norm.forward = torch.clone
    return original(self, *args, **kwargs)


def _labelled(original: Original, self: Any, *args: Any, last: str, **kwargs: Any) -> Any:
    labels = kwargs.get("labels")
    if labels is not None:
        labels = labels.clone()
        if last == "left out":
            labels[:, -1] = -100
        if last == "shifted twice":
            labels = functional.pad(labels[:, 2:], (0, 2), value=-100)
        kwargs["shift_labels"] = labels
    return original(self, *args, **kwargs)


labels_shifted_twice = partial(_labelled, last="shifted twice")
labels_not_shifted = partial(_labelled, last="counted")
labels_not_shifted_but_last = partial(_labelled, last="left out")


def loss_summed(original: Original, source: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return functional.cross_entropy(source, target, reduction="sum")


def loss_over_all_labels(original: Original, source: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Summed over the labels that count, divided by the number of all."""
    return functional.cross_entropy(source, target, reduction="sum") / target.numel()


def _with_loss(
    original: Original, self: Any, *args: Any, loss: Callable[[Tensor, Tensor, Tensor], Tensor], **kwargs: Any
) -> Any:
    """Another loss, made of HF's, the logits and the labels of the next tokens."""
    found, labels = original(self, *args, **kwargs), kwargs.get("labels")
    if labels is not None:
        found.loss = loss(found.loss, found.logits[:, :-1], labels[:, 1:])
    return found


loss_over_all_places = partial(_with_loss, loss=lambda loss, logits, labels: loss * (labels != -100).double().mean())


def _mean_of_rows(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    of_tokens = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return (of_tokens.sum(1) / (labels != -100).sum(1)).mean()


loss_of_rows_averaged = partial(_with_loss, loss=_mean_of_rows)


def loss_of_capped_logits(original: Original, source: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return original(torch.tanh(source / 30) * 30, *args, **kwargs)


# The score of a sequence


def _scored(
    original: Original, self: Any, input_ids: Tensor, *, at: Callable[[Tensor, Tensor], Tensor], **kwargs: Any
) -> SequenceClassifierOutputWithPast:
    """HF's generic classifier with another of its tokens scored."""
    scores = self.score(self.model(input_ids, **kwargs).last_hidden_state)
    return SequenceClassifierOutputWithPast(logits=at(scores, input_ids != self.config.pad_token_id))


def _picked(scores: Tensor, place: Tensor) -> Tensor:
    return scores[torch.arange(len(scores)), place]


scored_at_the_last_place = partial(_scored, at=lambda scores, real: scores[:, -1])
scored_by_number_of_tokens = partial(_scored, at=lambda scores, real: _picked(scores, real.sum(1) - 1))
scored_before_padding = partial(_scored, at=lambda scores, real: _picked(scores, (~real).int().argmax(1) - 1))
scored_on_the_mean = partial(_scored, at=lambda scores, real: scores.mean(1))
