"""Faults of the masks: causality, padding, chunks and where they begin."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_LONG, _LEFTPAD, _PADDED = "tiny/tiny-scout.long", "tiny/tiny-scout.leftpad", "tiny/tiny-scout.padded"
_VISIBLE = "jax_llama4.masks:visible"
_MASKS = "jax_llama4.masks:Llama4TextMasks.__call__"
_FULL, _CHUNKED = "masks:out.full", "masks:out.chunked"

GROUP = FaultGroup(
    name="masks",
    family="llama4",
    faults=(
        Fault(
            "mask-without-the-diagonal",
            "semantic",
            (Patch(_VISIBLE, "key_slots[:, None, :] <= query_slots", "key_slots[:, None, :] < query_slots"),),
            _LONG,
            (_FULL,),
            hypothesis="masks hide the token itself",
        ),
        Fault(
            "mask-not-causal",
            "semantic",
            (
                Patch(
                    _VISIBLE,
                    "(key_slots[:, None, :] <= query_slots[:, :, None]) & real_keys",
                    "(key_slots[:, None, :] - query_slots[:, :, None] < key_slots.shape[1]) & real_keys",
                ),
            ),
            _LONG,
            (_FULL,),
            hypothesis="masks not causal",
        ),
        Fault(
            "mask-shows-padding",
            "semantic",
            (Patch(_VISIBLE, " & real_keys[:, None, :]", " & jnp.ones_like(real_keys)[:, None, :]"),),
            _PADDED,
            (_FULL,),
            hypothesis="masks show padding",
        ),
        Fault(
            "mask-drops-padding-on-the-way",
            "semantic",
            (
                Patch(
                    "jax_llama4.text:Llama4TextModel._masks",
                    "jnp.ones(tokens, dtype=bool) if attention_mask is None else attention_mask.astype(bool)",
                    "jnp.ones(tokens, dtype=bool)",
                ),
            ),
            _PADDED,
            (_FULL,),
            doc="the masks are right, and never told of the padding",
            hypothesis="masks by slots alone",
        ),
        Fault(
            "mask-kinds-exchanged",
            "semantic",
            (
                Patch(_MASKS, "{FULL: causal_mask(", "{CHUNKED: causal_mask("),
                Patch(_MASKS, "masks[CHUNKED] = chunked_mask(", "masks[FULL] = chunked_mask("),
            ),
            _LONG,
            (_FULL,),
            hypothesis="masks exchanged",
        ),
        Fault(
            "chunk-size-ignored",
            "semantic",
            (
                Patch(
                    _MASKS,
                    "chunked_mask(attention_mask, query_slots, self.chunk_size)",
                    "causal_mask(attention_mask, query_slots)",
                ),
            ),
            _LONG,
            (_CHUNKED,),
            hypothesis="chunks missing",
        ),
        Fault(
            "chunk-edge-off-by-one",
            "semantic",
            (
                Patch(
                    _VISIBLE,
                    "query_chunk = (query_slots - starts[:, None])",
                    "query_chunk = (query_slots + 1 - starts[:, None])",
                ),
            ),
            _LONG,
            (_CHUNKED,),
            hypothesis="chunk of the query off by one",
        ),
        Fault(
            "chunk-as-sliding-window",
            "semantic",
            (
                Patch(
                    _VISIBLE,
                    "mask & (query_chunk[:, :, None] == key_chunk[:, None, :])",
                    "mask & (query_slots[:, :, None] - key_slots[:, None, :] < chunk_size)",
                ),
            ),
            _LONG,
            (_CHUNKED,),
            hypothesis="window for chunk",
        ),
        Fault(
            "chunk-counted-from-slot-0",
            "semantic",
            (
                Patch(_VISIBLE, "(query_slots - starts[:, None])", "query_slots"),
                Patch(_VISIBLE, "(key_slots - starts[:, None])", "key_slots"),
            ),
            _LEFTPAD,
            (_CHUNKED,),
            doc="only padding on the left shows it",
            hypothesis="chunks from slot 0",
        ),
        Fault(
            "chunk-start-counts-holes",
            "semantic",
            (
                Patch(
                    "jax_llama4.masks:first_real_slots",
                    "jnp.cumsum(attention_mask, axis=1, dtype=dtype) == 0",
                    "~attention_mask",
                ),
            ),
            _PADDED,
            (_CHUNKED,),
            doc="the number of all padded slots taken for the number of those on the left",
            hypothesis="chunks after all padding",
        ),
        Fault(
            "mask-by-minus-infinity",
            "semantic",
            (
                Patch(
                    "jax_llama4.attention:attention_weights",
                    "jnp.finfo(scores.dtype).min.astype(scores.dtype)",
                    "-jnp.inf",
                ),
            ),
            _LEFTPAD,
            ("layers.*.attn:inner.probs", "layers.1.attn:out"),
            doc="a query of padding sees nothing and becomes NaN; the layer after it puts that into every real token",
        ),
        Fault(
            "mask-added",
            "harmless",
            (
                Patch(
                    "jax_llama4.attention:attention_weights",
                    "jnp.where(mask[:, None, :, :], scores, jnp.finfo(scores.dtype).min.astype(scores.dtype))",
                    "scores + jnp.where(mask[:, None, :, :], 0, jnp.finfo(scores.dtype).min.astype(scores.dtype))",
                ),
            ),
            _PADDED,
        ),
        Fault(
            "mask-after-the-exponential",
            "harmless",
            (
                Patch(
                    "jax_llama4.attention:attention_weights",
                    "return jax.nn.softmax(scores.astype(softmax), axis=-1).astype(compute)",
                    "shown = jnp.ones_like(scores, bool) if mask is None else mask[:, None, :, :]\n"
                    "    return jax.nn.softmax(scores.astype(softmax), axis=-1, where=shown).astype(compute)",
                ),
            ),
            _LONG,
        ),
        Fault(
            "chunk-by-first-slot",
            "harmless",
            (
                Patch(
                    _VISIBLE,
                    "mask & (query_chunk[:, :, None] == key_chunk[:, None, :])",
                    "mask & ((query_chunk * chunk_size + starts[:, None])[:, :, None] <= key_slots[:, None, :])",
                ),
            ),
            _PADDED,
            doc="a key of the query's chunk is one that is not before its first slot",
        ),
    ),
    doc="who may attend to whom",
)
