"""Faults of the mixture of experts: choice, scores, how tokens get to experts and come back."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _MAVERICK = "tiny/tiny-scout.long", "tiny/tiny-maverick.long"
_ROUTER = "jax_llama4.moe:Llama4Router.__call__"
_EXPERTS = "jax_llama4.moe:Llama4TextExperts.__call__"
_MOE = "jax_llama4.moe:Llama4TextMoe"
_EVERY = f"{_MOE}._every_expert"
_SIGMOID = "jax.nn.sigmoid(logits.astype(self.numerics.router))"
_SCORES = "jnp.where(chosen, sigmoid, jnp.zeros_like(sigmoid))"
_SPLIT = "jnp.split(bmm(grouped, self.gate_up_proj[...].astype(compute), precision), 2, axis=-1)"
_ROUTED_IN = "routed_in = tokens[None, :, :] * scores.T[:, :, None]"
_ROUTED_OUT = "self.experts(routed_in.reshape(-1, tokens.shape[-1])).reshape(routed_in.shape)"
_PRODUCT = "jnp.einsum(letters, inputs, kernel, precision=precision, preferred_element_type=wide, out_sharding=split)"
_AT = ("layers.*.moe:out",)
_AT_SCORES = ("layers.*.moe.router:out.scores",)
_AT_CHOICE = ("layers.*.moe.router:out.choice",)
_AT_EXPERTS = ("layers.*.moe.experts:out",)

GROUP = FaultGroup(
    name="moe",
    family="llama4",
    faults=(
        Fault(
            "score-on-the-output",
            "semantic",
            (
                Patch(_EVERY, _ROUTED_IN, "routed_in = jnp.broadcast_to(tokens, (scores.shape[1], *tokens.shape))"),
                Patch(_EVERY, _ROUTED_OUT, f"{_ROUTED_OUT} * scores.T[:, :, None]"),
            ),
            _SCOUT,
            _AT,
            doc="where most mixtures have it; the block is not linear",
            hypothesis="score after the expert",
        ),
        Fault(
            "score-left-out",
            "semantic",
            (Patch(_EVERY, "* scores.T[:, :, None]", "* (scores.T > 0)[:, :, None]"),),
            _SCOUT,
            _AT,
            hypothesis="score used nowhere",
        ),
        Fault(
            "router-by-softmax",
            "semantic",
            (Patch(_ROUTER, _SIGMOID, "jax.nn.softmax(logits.astype(self.numerics.router), axis=-1)"),),
            _SCOUT,
            _AT_SCORES,
            hypothesis="softmax for sigmoid",
        ),
        Fault(
            "router-by-softmax-of-chosen",
            "semantic",
            (
                Patch(
                    _ROUTER,
                    _SIGMOID,
                    "jax.nn.softmax(jnp.where(chosen, logits, -jnp.inf).astype(self.numerics.router), axis=-1)",
                ),
            ),
            _MAVERICK,
            _AT_SCORES,
            doc="as in Mixtral",
            hypothesis="softmax of the chosen",
        ),
        Fault(
            "router-scores-to-one",
            "semantic",
            (
                Patch(
                    _ROUTER,
                    f"return {_SCORES}, logits",
                    f"scores = {_SCORES}\n    return scores / jnp.sum(scores, axis=-1, keepdims=True), logits",
                ),
            ),
            _MAVERICK,
            _AT_SCORES,
            doc="sigmoids divided by their sum, as in DeepSeek",
            hypothesis="scores normalised",
        ),
        Fault(
            "router-one-expert-always",
            "semantic",
            (Patch(_ROUTER, "jax.lax.top_k(logits, self.top_k)", "jax.lax.top_k(logits, 1)"),),
            _MAVERICK,
            _AT_CHOICE,
            hypothesis="one expert fewer",
        ),
        Fault(
            "router-others-at-one-half",
            "semantic",
            (
                Patch(
                    _ROUTER,
                    "sigmoid = jax.nn.sigmoid(logits.",
                    "sigmoid = jax.nn.sigmoid(jnp.where(chosen, logits, 0).",
                ),
                Patch(_ROUTER, f"return {_SCORES}, logits", "return sigmoid, logits"),
            ),
            _SCOUT,
            _AT_SCORES,
            doc="the others filled with 0 before the sigmoid, not with -inf",
        ),
        Fault(
            "router-at-capacity",
            "semantic",
            (
                Patch(
                    _EVERY,
                    f"    {_ROUTED_IN}\n",
                    "    room = -(-5 * tokens.shape[0] // (4 * scores.shape[1]))\n"
                    "    scores = jnp.where(jnp.cumsum(scores > 0, axis=0) <= room, scores, 0)\n"
                    f"    {_ROUTED_IN}\n",
                ),
            ),
            _SCOUT,
            _AT,
            doc="tokens beyond 1.25 of an expert's share are dropped, as in Switch",
            hypothesis="experts at capacity",
        ),
        Fault(
            "shared-expert-left-out",
            "semantic",
            (Patch(f"{_MOE}.__call__", "(self.shared_expert(tokens) + routed)", "routed"),),
            _SCOUT,
            (*_AT, "layers.*.moe.shared:out"),
            hypothesis="shared expert missing",
        ),
        Fault(
            "experts-averaged",
            "semantic",
            (Patch(_EVERY, "jnp.sum(routed_out, axis=0)", "jnp.sum(routed_out, axis=0) / self.router.top_k"),),
            _MAVERICK,
            _AT,
            hypothesis="routed experts averaged",
        ),
        Fault(
            "experts-by-place-in-the-batch",
            "semantic",
            (
                Patch(_EVERY, _ROUTED_OUT, "self.experts(routed_in.swapaxes(0, 1).reshape(-1, tokens.shape[-1]))"),
                Patch(
                    _EVERY,
                    "jnp.sum(routed_out, axis=0)",
                    "jnp.sum(routed_out.reshape(*tokens.shape[:1], -1, tokens.shape[1]), axis=1)",
                ),
            ),
            _SCOUT,
            _AT,
            doc="rows lie token by token where the experts take them expert by expert",
            hypothesis="experts by token",
        ),
        Fault(
            "experts-gate-and-up-exchanged",
            "semantic",
            (Patch(_EXPERTS, "gate, up = jnp.split", "up, gate = jnp.split"),),
            _SCOUT,
            _AT_EXPERTS,
            hypothesis="expert gate and up swapped",
        ),
        Fault(
            "experts-gate-and-up-alternate",
            "semantic",
            (
                Patch(
                    _EXPERTS,
                    f"gate, up = {_SPLIT}",
                    "both = bmm(grouped, self.gate_up_proj[...].astype(compute), precision)\n"
                    "    gate, up = both[..., ::2], both[..., 1::2]",
                ),
            ),
            _SCOUT,
            _AT_EXPERTS,
            doc="as in gpt-oss",
            hypothesis="expert gate and up interleaved",
        ),
        Fault(
            "router-by-minus-infinity",
            "harmless",
            (
                Patch(
                    _ROUTER,
                    "sigmoid = jax.nn.sigmoid(logits.",
                    "sigmoid = jax.nn.sigmoid(jnp.where(chosen, logits, -jnp.inf).",
                ),
                Patch(_ROUTER, f"return {_SCORES}, logits", "return sigmoid, logits"),
            ),
            _MAVERICK,
            doc="as the reference writes it",
        ),
        Fault(
            "router-with-operands-exchanged",
            "harmless",
            (
                Patch(_ROUTER, '"md,de->me"', '"de,md->me"'),
                Patch(_ROUTER, "einsum(letters, x, kernel,", "einsum(letters, kernel, x,"),
            ),
            _SCOUT,
        ),
        Fault(
            "experts-one-by-one",
            "harmless",
            (
                Patch(
                    "jax_llama4.moe:bmm",
                    _PRODUCT,
                    "jax.vmap(lambda x, k: jnp.matmul(x, k, precision=precision, preferred_element_type=wide))"
                    "(inputs, kernel)",
                ),
            ),
            _SCOUT,
        ),
        Fault(
            "routed-summed-in-16-bits",
            "harmless",
            (Patch(_EVERY, "jnp.sum(routed_out, axis=0)", "sum(routed_out)"),),
            _MAVERICK,
            equivalent="of the experts' outputs for a token all but two are zero, so one addition rounds, and once",
        ),
    ),
    doc="router, experts, and what joins them",
)
