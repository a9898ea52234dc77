"""The losses of the heads, in the numerics' loss dtype."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax_llama4.precision import Numerics
from jax_llama4.sharding import automatic, explicit_sharding, reshard

# HF: `ignore_index` of its losses: a label that does not count.
IGNORED_LABEL = -100

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]


def _mean_over_counted(
    log_probs: Float[Array, "... V"], labels: Int[Array, "..."], numerics: Numerics
) -> Float[Array, ""]:
    counted = labels != IGNORED_LABEL
    split = explicit_sharding(labels.shape, *("batch", None)[: labels.ndim])
    picked = automatic(_entries, split, log_probs, jnp.where(counted, labels, 0))
    total = jnp.sum(jnp.where(counted, picked, jnp.zeros_like(picked)))
    return -total / jnp.sum(counted).astype(numerics.loss)


def _entries(log_probs: Float[Array, "... V"], labels: Int[Array, "..."]) -> Float[Array, "..."]:
    return jnp.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]


def causal_lm_loss(logits: Float[Array, "B T V"], labels: Int[Array, "B T"], numerics: Numerics) -> Float[Array, ""]:
    """Mean cross entropy of token t + 1 given the logits at t, over labels other than -100.

    Where no label counts it is NaN. HF: the same.
    """
    # What is split along the tokens cannot lose one of them.
    logits, labels = reshard(logits, "batch", None, "vocab"), reshard(labels, "batch", None)
    log_probs = jax.nn.log_softmax(logits[:, :-1].astype(numerics.loss), axis=-1)
    return _mean_over_counted(log_probs, labels[:, 1:], numerics)


def problem_type_of(num_labels: int, labels: Array) -> ProblemType:
    """HF: by the number of labels and the dtype of those given; its first call writes the answer into the config."""
    if num_labels == 1:
        return "regression"
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return "single_label_classification"
    return "multi_label_classification"


def sequence_classification_loss(
    logits: Float[Array, "B L"], labels: Array, problem_type: ProblemType, numerics: Numerics
) -> Float[Array, ""]:
    """Mean square error, cross entropy over labels other than -100, or binary cross entropy of each label.

    HF: takes these in the model dtype.
    """
    logits = logits.astype(numerics.loss)
    if problem_type == "single_label_classification":
        return _mean_over_counted(jax.nn.log_softmax(logits, axis=-1), labels.reshape(-1), numerics)
    targets = labels.reshape(logits.shape).astype(numerics.loss)
    if problem_type == "regression":
        return jnp.mean(jnp.square(logits - targets))
    return -jnp.mean(targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits))
