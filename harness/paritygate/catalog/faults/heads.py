"""Faults of the heads: logits, the loss and its labels, the score of a sequence."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_LONG, _PADDED, _LEFTPAD = "tiny/tiny-scout.long", "tiny/tiny-scout.padded", "tiny/tiny-scout.leftpad"
_SCORED, _SCORED_LEFT = "classify/classify-scout.padded", "classify/classify-scout.leftpad"
_LOSS = "jax_llama4.losses:causal_lm_loss"
_MEAN = "jax_llama4.losses:_mean_over_counted"
_HEAD = "jax_llama4.heads:Llama4ForCausalLM.__call__"
_SCORE = "jax_llama4.heads:Llama4ForSequenceClassification.__call__"
_LAST = "jax_llama4.heads:Llama4ForSequenceClassification._last_token"
_RIGHTMOST = "jnp.argmax(jnp.where(input_ids != pad, jnp.arange(input_ids.shape[1]), 0), axis=1)"
_PICKED = "automatic(_of_each_row, split, last, self._last_token(input_ids, last.shape[0]))"
_AT = ("loss:out",)
_AT_SCORED = ("scored:out.logits",)

GROUP = FaultGroup(
    name="heads",
    family="llama4",
    faults=(
        Fault(
            "labels-not-shifted",
            "semantic",
            (Patch(_LOSS, "logits[:, :-1]", "logits"), Patch(_LOSS, "labels[:, 1:]", "labels")),
            _LONG,
            _AT,
            hypothesis="labels not shifted",
        ),
        Fault(
            "labels-shifted-twice",
            "semantic",
            (Patch(_LOSS, "logits[:, :-1]", "logits[:, :-2]"), Patch(_LOSS, "labels[:, 1:]", "labels[:, 2:]")),
            _LONG,
            _AT,
            hypothesis="labels shifted twice",
        ),
        Fault(
            "loss-over-all-places",
            "semantic",
            (Patch(_MEAN, "jnp.sum(counted).astype(numerics.loss)", "counted.size"),),
            _PADDED,
            _AT,
            doc="padding counts in the mean, though not in the sum",
            hypothesis="loss over all places",
        ),
        Fault(
            "loss-of-rows-averaged",
            "semantic",
            (
                Patch(
                    _MEAN,
                    "return -total / jnp.sum(counted).astype(numerics.loss)",
                    "of_row = jnp.sum(jnp.where(counted, picked, 0), axis=-1) / jnp.sum(counted, axis=-1)\n"
                    "    return -jnp.mean(of_row.astype(numerics.loss))",
                ),
            ),
            _LEFTPAD,
            _AT,
            doc="a mean of the rows' means, in which a token of a short row counts for more",
            hypothesis="loss of rows averaged",
        ),
        Fault(
            "logits-capped",
            "semantic",
            (Patch(_HEAD, 'logits = shard(logits, "batch"', 'logits = shard(jnp.tanh(logits / 30) * 30, "batch"'),),
            _LONG,
            _AT,
            doc="after the head itself, so that the loss alone shows it",
            hypothesis="loss of capped logits",
        ),
        Fault(
            "scored-at-the-last-place",
            "semantic",
            (Patch(_LAST, "if pad is None or input_ids is None:", "if True:"),),
            _SCORED,
            _AT_SCORED,
            hypothesis="scored at the last place",
        ),
        Fault(
            "scored-by-number-of-tokens",
            "semantic",
            (Patch(_LAST, _RIGHTMOST, "jnp.sum(input_ids != pad, axis=1) - 1"),),
            _SCORED_LEFT,
            _AT_SCORED,
            doc="right without padding on the left",
            hypothesis="scored by number of tokens",
        ),
        Fault(
            "scored-before-the-first-padding",
            "semantic",
            (Patch(_LAST, _RIGHTMOST, "jnp.argmax(input_ids == pad, axis=1) - 1"),),
            _SCORED,
            _AT_SCORED,
            doc="what EasyDeL does without a mask",
            hypothesis="scored before padding",
        ),
        Fault(
            "scored-on-the-mean",
            "semantic",
            (Patch(_SCORE, f"picked = {_PICKED}", "picked = jnp.mean(last, axis=1)"),),
            _SCORED,
            _AT_SCORED,
            hypothesis="scored on the mean",
        ),
        Fault(
            "loss-by-log-sum",
            "harmless",
            (
                Patch(
                    _LOSS,
                    "log_probs = jax.nn.log_softmax(logits[:, :-1].astype(numerics.loss), axis=-1)",
                    "wide = logits[:, :-1].astype(numerics.loss)\n"
                    "    log_probs = wide - jax.nn.logsumexp(wide, axis=-1, keepdims=True)",
                ),
            ),
            _LONG,
        ),
        Fault(
            "loss-by-one-hot",
            "harmless",
            (
                Patch(
                    _MEAN,
                    "automatic(_entries, split, log_probs, jnp.where(counted, labels, 0))",
                    "jnp.sum(jax.nn.one_hot(labels, log_probs.shape[-1], dtype=log_probs.dtype) * log_probs, axis=-1)",
                ),
            ),
            _PADDED,
        ),
        Fault(
            "scored-everywhere-first",
            "harmless",
            (
                Patch(
                    _SCORE,
                    f"picked = {_PICKED}\n",
                    f"scores = self.score(last)\n    picked = {_PICKED.replace('last,', 'scores,', 1)}\n",
                ),
                Patch(_SCORE, "logits = self.score(picked)", "logits = picked"),
            ),
            _SCORED,
            doc="as the reference writes it",
        ),
    ),
    doc="language-modelling head, loss, sequence classification",
)
