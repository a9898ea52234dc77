"""Faults of a port that splits its arrays over devices and communicates itself: right on one, wrong on several."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_WHOLE, _DECODE = "mesh/mesh-text.batch", "mesh/mesh-text.batch-decode"
_ATTENTION = "jax_llama4.attention:Llama4TextAttention.__call__"
_EXPERTS = "jax_llama4.moe:Llama4TextExperts.__call__"
_ROUTER = "jax_llama4.moe:Llama4Router.__call__"
_MLP = "jax_llama4.mlp:Llama4TextMLP.__call__"
_MASKS = "jax_llama4.masks:_of_whole_rows"
_O_PROJ = 'self.o_proj(shard(mixed, "batch", "length", "heads"))'
_DOWN_PROJ = 'self.down_proj(shard(hidden, *leading, "mlp"))'
_LOGITS = "logits.astype(self.numerics.router_logits)"
_IMPORTS = "import jax\n    from paritygate.replay import llama4_by_hand as by_hand\n\n    "
_AT_ATTENTION = ("layers.*.attn:out*",)
_AT_FEED_FORWARD = ("layers.*.mlp:out*", "layers.*.moe.shared:out*")


def _o_proj(reduced: str) -> tuple[Patch, ...]:
    """Each device's part of the output projection, joined by an expression of `part` and `axes`."""
    call = f'by_hand.split_sum({_O_PROJ}, mixed, self.o_proj.kernel[...], "heads", lambda part, axes: {reduced})'
    return (Patch(_ATTENTION, f"out = {_O_PROJ}", f"{_IMPORTS}out = {call}"),)


def _down_proj(result: str) -> tuple[Patch, ...]:
    """Another result of a feed-forward block."""
    return (Patch(_MLP, f"return {_DOWN_PROJ}", f"{_IMPORTS}return {result}"),)


GROUP = FaultGroup(
    name="sharding",
    family="llama4",
    faults=(
        Fault("psum-left-out", "sharding", _o_proj("part"), _DECODE, _AT_ATTENTION, mesh="tp2"),
        Fault(
            "psum-twice",
            "sharding",
            _o_proj("jax.lax.psum(jax.lax.psum(part, axes), axes)"),
            _DECODE,
            _AT_ATTENTION,
            mesh="tp2",
            doc="in the layer, and again around it",
        ),
        Fault(
            "psum-over-the-batch",
            "sharding",
            _o_proj('jax.lax.psum(part, by_hand.mesh_axes("batch"))'),
            _DECODE,
            _AT_ATTENTION,
            mesh="dp2tp4",
            doc="over the wrong axis",
        ),
        Fault(
            "experts-dealt-out",
            "sharding",
            (
                Patch(_EXPERTS, "compute, precision = self", f"{_IMPORTS}compute, precision = self"),
                Patch(_EXPERTS, "self.gate_up_proj[...]", 'by_hand.dealt(self.gate_up_proj[...], "expert", 0)'),
                Patch(_EXPERTS, "self.down_proj[...]", 'by_hand.dealt(self.down_proj[...], "expert", 0)'),
            ),
            _DECODE,
            ("layers.*.moe:out*",),
            mesh="ep2",
            doc="devices hold every second expert, where tokens go to blocks of them",
        ),
        Fault(
            "kv-heads-dealt-out",
            "sharding",
            (
                Patch(
                    _ATTENTION,
                    "probs = self.tap_probs(",
                    _IMPORTS + 'key, value = (by_hand.dealt(x, "kv_heads", 2) for x in (key, value))\n'
                    "    probs = self.tap_probs(",
                ),
            ),
            _DECODE,
            _AT_ATTENTION,
            mesh="tp2",
            doc="devices hold every second key head, and a block of query heads",
        ),
        Fault(
            "sequence-part-begins-one-early",
            "sharding",
            (
                Patch(_MASKS, "batch, keys = attention_mask", f"{_IMPORTS}batch, keys = attention_mask"),
                Patch(
                    _MASKS, "attention_mask, query_slots)\n", "attention_mask, by_hand.slots_of_parts(query_slots))\n"
                ),
            ),
            _WHOLE,
            ("masks:out.full", "masks:out.chunked"),
            mesh="sp2",
            doc="the first token of a part does not see itself, and takes its chunk from the token before",
        ),
        Fault(
            "replica-left-stale",
            "sharding",
            _down_proj(f"by_hand.stale({_DOWN_PROJ}, hidden, self.down_proj.kernel[...])"),
            _DECODE,
            _AT_FEED_FORWARD,
            mesh="dp2",
            doc="one replica has not had the last step's weights",
        ),
        Fault(
            "router-by-part",
            "sharding",
            (
                Patch(
                    _ROUTER,
                    'choice: Int[Array, "M k"] = self.tap_choice(jax.lax.top_k(logits, self.top_k)[1])',
                    f"{_IMPORTS}choice = self.tap_choice(by_hand.top_k_of_parts(logits, self.top_k))",
                ),
            ),
            _DECODE,
            ("layers.*.moe.router:out.choice*",),
            mesh="ep2",
            doc="each device chooses among its own experts",
        ),
        Fault(
            "uneven-tail-dropped",
            "sharding",
            _down_proj("self.down_proj(by_hand.whole_parts(hidden, leading[-1], hidden.ndim - 2))"),
            _DECODE,
            ("layers.*.mlp:out*",),
            mesh="sp2",
            doc="parts of equal length leave the last token of an odd number out",
        ),
        Fault(
            "psum-in-16-bits",
            "precision",
            (
                Patch(
                    _ROUTER,
                    f"logits = {_LOGITS}",
                    f'{_IMPORTS}logits = by_hand.split_sum({_LOGITS}, x, kernel, "embed", '
                    "lambda part, axes: jax.lax.psum(part.astype(x.dtype), axes))",
                ),
            ),
            _WHOLE,
            ("layers.*.moe.router:out.logits",),
            sees="bf16",
            mesh="fsdp4",
            doc="parts of a sum are rounded before they are joined",
        ),
        Fault(
            "psum-by-gathering",
            "harmless",
            _o_proj("sum(jax.lax.all_gather(part, axes)[::-1])"),
            _DECODE,
            mesh="tp4",
            doc="parts gathered, and summed from the last on",
        ),
        Fault(
            "heads-whole-on-every-device",
            "harmless",
            (Patch(_ATTENTION, _O_PROJ, _O_PROJ.replace('"heads"', "None")),),
            _DECODE,
            mesh="tp2",
            doc="another layout of an activation",
        ),
    ),
    doc="several devices: sums across them, what each has, where its part begins",
)
