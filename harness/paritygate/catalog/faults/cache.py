"""Faults that only a cache shows: what is kept, where it lies, who may see it."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_DECODE, _PADDED, _PAGED = "text/tiny-scout.decode", "text/tiny-scout.decode-padded", "text/tiny-scout.decode-paged"
_META = "jax_llama4.cache:TransformerMetadata"
_VIEW = "jax_llama4.cache:TransformerCacheView"
_HELD = "jax_llama4.cache:held_slots"
_PAGES = "jax_llama4.paged:RaggedPagesMetadata"
_ATTENTION = "jax_llama4.attention:Llama4TextAttention.__call__"
_EXTEND = "key, value, cache_view = cache_view.extend(key, value, cache_metadata)"
_AT = ("layers.*.attn:out*",)
_AT_LATER = ("layers.*.attn:out#*",)

GROUP = FaultGroup(
    name="cache",
    family="llama4",
    faults=(
        Fault(
            "temperature-by-place-in-the-piece",
            "decode",
            (
                Patch(
                    "jax_llama4.attention:Llama4TextAttention._scale_query",
                    "attention_temperature(query_slots, self",
                    "attention_temperature(query_slots - query_slots[..., :1], self",
                ),
            ),
            _DECODE,
            ("layers.3.attn:inner.query*",),
            hypothesis="temperature within a piece",
        ),
        Fault(
            "ring-one-slot-short",
            "decode",
            (Patch("jax_llama4.cache:layer_sizes", "min(max_length, chunk)", "min(max_length, chunk - 1)"),),
            _DECODE,
            _AT,
            hypothesis="ring one slot short",
        ),
        Fault(
            "ring-read-after-it-was-written",
            "decode",
            (
                Patch(f"{_META}.key_slots", "if size == self.max_length or tokens == 1:", "if True:"),
                Patch(f"{_VIEW}.extend", "if self.size == metadata.max_length or tokens == 1:", "if True:"),
            ),
            _DECODE,
            _AT,
            doc="the first tokens of a long piece look at entries that its last ones have taken",
            hypothesis="ring read after it is written",
        ),
        Fault(
            "ring-keeps-the-first-of-a-piece",
            "decode",
            (Patch(f"{_VIEW}.update", "x[:, -self.size :]", "x[:, : self.size]"),),
            _DECODE,
            _AT_LATER,
        ),
        Fault(
            "cached-chunks-from-slot-0",
            "decode",
            (Patch(f"{_META}.append", "jnp.argmax(filled, axis=1), jnp.maximum", "0, jnp.maximum"),),
            _DECODE,
            _AT,
            doc="padding on the left moves the chunks",
            hypothesis="chunks from slot 0",
        ),
        Fault(
            "one-token-without-chunks",
            "decode",
            (Patch(f"{_META}.mask", "self.starts, chunk_size)", "self.starts, None if tokens == 1 else chunk_size)"),),
            _DECODE,
            _AT_LATER,
            doc="Meta's own code has no mask for a single token",
            hypothesis="single tokens without chunks",
        ),
        Fault(
            "queries-from-slot-0",
            "decode",
            (Patch(f"{_META}.mask", "visible(self.query_slots(tokens)", "visible(jnp.arange(tokens)[None]"),),
            _DECODE,
            _AT_LATER,
            doc="a causal mask that knows nothing of what is before the piece",
        ),
        Fault(
            "queries-see-all-that-is-kept",
            "decode",
            (
                Patch(
                    f"{_META}.mask",
                    "visible(self.query_slots(tokens)",
                    "visible(jnp.broadcast_to(self.lengths[:, None] - 1, self.query_slots(tokens).shape)",
                ),
            ),
            _DECODE,
            _AT,
            doc="right for a single token, without a mask inside a longer piece",
            hypothesis="masks of a piece's last token",
        ),
        Fault(
            "padding-forgotten-by-the-next-piece",
            "decode",
            (Patch(f"{_META}.append", "_write(self.real, new,", "_write(jnp.ones_like(self.real), new,"),),
            _DECODE,
            _AT_LATER,
        ),
        Fault(
            "empty-entries-seen",
            "decode",
            (Patch(f"{_META}.mask", "real & (key_slots >= 0)", "jnp.ones_like(real)"),),
            _DECODE,
            _AT,
        ),
        Fault(
            "length-not-counted-on",
            "decode",
            (Patch("jax_llama4.text:Llama4TextModel.__call__", "cache = cache.replace(metadata=metadata)", "pass"),),
            _DECODE,
            _AT_LATER,
            doc="every piece is written over the first one",
            hypothesis="nothing kept",
        ),
        Fault(
            "keys-kept-before-rope",
            "decode",
            (
                Patch(
                    _ATTENTION,
                    "    if self.use_rope:\n",
                    "    unrotated = key\n    if self.use_rope:\n",
                ),
                Patch(
                    _ATTENTION,
                    _EXTEND,
                    "_, _, kept = cache_view.extend(unrotated, value, cache_metadata)\n"
                    "        key, value, _ = cache_view.extend(key, value, cache_metadata)\n"
                    "        cache_view = kept",
                ),
            ),
            _DECODE,
            _AT_LATER,
            hypothesis="keys kept before rope",
        ),
        Fault(
            "cache-always-in-bf16",
            "decode",
            (
                Patch(
                    "jax_llama4.text:Llama4TextModel.init_cache",
                    "dtype=self.numerics.compute",
                    'dtype="bfloat16"',
                ),
            ),
            _DECODE,
            _AT,
            doc="right in bf16, and nowhere else",
            hypothesis="cache in bf16",
        ),
        Fault(
            "positions-from-0-in-every-piece",
            "decode",
            (
                Patch(
                    "jax_llama4.text:Llama4TextModel.__call__",
                    '"frequencies": self.rotary_emb(position_ids)',
                    '"frequencies": self.rotary_emb(position_ids - position_ids[:, :1])',
                ),
            ),
            _DECODE,
            ("rope:out*",),
            doc="whole prompts that begin at position 0 do not show it",
            hypothesis="positions within a piece",
        ),
        Fault(
            "page-of-the-next-slot",
            "decode",
            (Patch(f"{_PAGES}.entries", "slots // self.page_size,", "(slots + 1) // self.page_size,"),),
            _PAGED,
            _AT,
        ),
        Fault(
            "pages-without-chunks",
            "decode",
            (
                Patch(
                    f"{_PAGES}.mask", "jnp.zeros_like(self.lengths), chunk_size)", "jnp.zeros_like(self.lengths), None)"
                ),
            ),
            _PAGED,
            _AT,
            hypothesis="chunks on no layer",
        ),
        Fault(
            "pages-with-queries-from-slot-0",
            "decode",
            (
                Patch(
                    f"{_PAGES}.mask",
                    "(self.lengths - self.new_tokens)[:, None] + numbers",
                    "0 * self.lengths[:, None] + numbers",
                ),
            ),
            _PAGED,
            _AT_LATER,
            hypothesis="masks within a piece, all kept",
        ),
        Fault(
            "pages-written-from-slot-0",
            "decode",
            (Patch(f"{_PAGES}.query_slots", "((self.lengths - self.new_tokens)[owner] + number)", "number"),),
            _PAGED,
            _AT_LATER,
        ),
        Fault(
            "ring-by-whole-turns",
            "harmless",
            (
                Patch(
                    _HELD,
                    "last - (last - jnp.arange(size)) % size",
                    "jnp.arange(size) + (last - jnp.arange(size)) // size * size",
                ),
            ),
            _DECODE,
        ),
        Fault(
            "chunk-of-all-keys-under-the-cache",
            "harmless",
            (Patch("jax_llama4.cache:layer_sizes", "min(max_length, chunk)", "min(max_length, 2 * chunk)"),),
            _PADDED,
            equivalent="a ring of two chunks keeps more than a mask by chunks lets anybody see",
        ),
        Fault(
            "pages-by-take",
            "harmless",
            (
                Patch(
                    "jax_llama4.paged:_gathered",
                    "pages[jnp.maximum(page_tables, 0)]",
                    "jnp.take(pages, jnp.maximum(page_tables, 0), axis=0)",
                ),
            ),
            _PAGED,
        ),
    ),
    doc="dense and paged cache",
)
