"""Known ways to get Llama 4's masks and its cache wrong: see `llama4_attention_hypotheses`."""

from paritygate.catalog.families.llama4_attention_hypotheses import HF, rows
from paritygate.core.hypothesis import Hypothesis

_OURS = "paritygate.reference.llama4_mask_hypotheses:"
_ATTENTION_OURS = "paritygate.reference.llama4_attention_hypotheses:"
_ATTENTION = ("layers.*.attn",)
_MASKS = ("masks", "layers.*.attn")
_MASKING = (
    *(
        Hypothesis(
            f"masks {words}",
            says,
            _MASKS,
            functions={
                HF + "create_causal_mask": f"{_OURS}full_{by}",
                HF + "create_chunked_causal_mask": f"{_OURS}chunk_{by}",
            },
        )
        for words, says, by in (
            ("see the next token", "lets every token see the next one", "sees_next"),
            ("hide the token itself", "does not let a token see itself", "not_itself"),
            ("not causal", "lets tokens see what comes after them", "sees_all"),
            ("show padding", "lets padding be seen", "sees_padding"),
            ("by slots alone", "makes masks that know of no padding", "by_slots"),
            ("within a piece", "counts queries from slot 0 in each piece that it is fed", "within_a_piece"),
            ("of a piece's last token", "lets a piece's tokens see what its last one does", "of_the_last"),
        )
    ),
    Hypothesis(
        "masks exchanged",
        "has the masks of full and of chunked layers in each other's place",
        _MASKS,
        functions={
            HF + "create_causal_mask": _OURS + "full_chunked",
            HF + "create_chunked_causal_mask": _OURS + "chunk_missing",
        },
    ),
    *rows(
        HF + "create_causal_mask",
        _MASKS,
        ("full mask sees the next token", "lets a token of a full layer see the next one", _OURS + "full_sees_next"),
        ("full mask hides the token itself", "hides a token of a full layer from itself", _OURS + "full_not_itself"),
        ("full mask shows padding", "lets padding be seen in full layers", _OURS + "full_sees_padding"),
        ("full mask chunked", "chunks full layers too", _OURS + "full_chunked"),
    ),
    *rows(
        HF + "create_chunked_causal_mask",
        _MASKS,
        ("chunked mask sees the next token", "lets a token of a chunk see the next one", _OURS + "chunk_sees_next"),
        ("chunked mask hides the token itself", "hides a token of a chunk from itself", _OURS + "chunk_not_itself"),
        ("chunked mask shows padding", "lets padding be seen in chunked layers", _OURS + "chunk_sees_padding"),
        ("chunks missing", "does not chunk", _OURS + "chunk_missing"),
        ("chunk one longer", "has chunks of one token more", _OURS + "chunk_one_longer"),
        ("chunk one shorter", "has chunks of one token less", _OURS + "chunk_one_shorter"),
        ("chunk of the query off by one", "puts a query in the next token's chunk", _OURS + "chunk_of_query_early"),
        ("chunk of the key off by one", "puts a key in the next token's chunk", _OURS + "chunk_of_key_early"),
        ("chunks one slot early", "begins each chunk one token early", _OURS + "chunks_one_slot_early"),
        ("chunks one slot late", "begins each chunk one token late", _OURS + "chunks_one_slot_late"),
        (
            "chunks from slot 0",
            "counts chunks from slot 0, not from the first real token",
            _OURS + "chunks_from_slot_0",
        ),
        (
            "chunks after all padding",
            "counts chunks from the number of padded slots, wherever they are",
            _OURS + "chunk_after_all_padding",
        ),
        ("single tokens without chunks", "does not chunk a piece of one token", _OURS + "chunk_not_of_one_token"),
        ("window for chunk", "shows a token the last chunk's worth, not its own chunk", _OURS + "window_for_chunk"),
        ("window within a chunk", "keeps one key too few of a chunk", _OURS + "window_within_chunk"),
    ),
)

_LAYERS = ("DynamicLayer", "DynamicSlidingWindowLayer")
_CACHING = (
    *rows(
        HF + "Llama4TextAttention.forward",
        _ATTENTION,
        ("keys kept before rope", "keeps keys that are not rotated", _ATTENTION_OURS + "keys_kept_before_rope"),
    ),
    *rows(
        HF + "create_chunked_causal_mask",
        _MASKS,
        ("ring one slot short", "keeps a slot less than a chunk", _OURS + "ring_one_slot_short"),
        ("ring read after it is written", "lets a piece's end hide its start", _OURS + "ring_read_after_written"),
    ),
    Hypothesis(
        "cache in bf16",
        "keeps keys and values in bf16, whatever it computes in",
        _ATTENTION,
        functions={f"transformers.cache_utils:{layer}.update": _OURS + "kept_in_bf16" for layer in _LAYERS},
    ),
    Hypothesis(
        "masks within a piece, all kept",
        "counts queries from slot 0 in each piece, and keeps more than a chunk",
        _MASKS,
        functions={
            HF + "create_causal_mask": _OURS + "full_within_a_piece",
            HF + "create_chunked_causal_mask": _OURS + "chunk_within_a_piece",
            "transformers.cache_utils:DynamicSlidingWindowLayer.__init__": _OURS + "all_kept",
        },
    ),
    Hypothesis(
        "nothing kept",
        "takes each piece that it is fed for the first",
        _MASKS,
        functions={
            HF + "create_causal_mask": _OURS + "full_of_a_piece_alone",
            HF + "create_chunked_causal_mask": _OURS + "chunk_of_a_piece_alone",
            HF + "Llama4TextAttention.forward": _ATTENTION_OURS + "temperature_within_a_piece",
        },
    ),
)

MASK_HYPOTHESES = (*_MASKING, *_CACHING)
