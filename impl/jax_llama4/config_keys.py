"""Which keys of a `config.json` a model can ignore, and which of them only at a value that asks for nothing."""

from collections.abc import Mapping
from typing import Any

# Bookkeeping of files and classes. `dtype`: the caller's Numerics decides.
_BOOKKEEPING = """
    _name_or_path architectures auto_map dtype torch_dtype transformers_version model_max_length
    _attn_implementation _attn_implementation_autoset attn_implementation _attn_implementation_internal
    _commit_hash tokenizer_class task_specific_params finetuning_task name_or_path experts_implementation
    _experts_implementation _output_attentions torchscript return_dict use_bfloat16 tf_legacy_loss for_llm_compressor
"""
# What a caller of HF asks for per call, or what only other heads and architectures read.
_CALL = """
    output_attentions output_hidden_states cache_implementation use_return_dict chunk_size_feed_forward
    is_encoder_decoder is_decoder add_cross_attention cross_attention_hidden_size tie_encoder_decoder pruned_heads
    label2id prefix sep_token_id decoder_start_token_id
"""
# Text generation, which older files keep beside the model.
_GENERATION = """
    bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length min_length
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores remove_invalid_values
    repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p typical_p
"""
IRRELEVANT = frozenset((_BOOKKEEPING + _CALL + _GENERATION).split())

# Of a multimodal model: its own fields under both of HF's names, and what HF reads in its halves only, such as
# `tie_word_embeddings`.
COMPOSITE_KEYS = frozenset(
    """
    model_type text_config vision_config
    boi_token_index eoi_token_index image_token_index boi_token_id eoi_token_id image_token_id
    tie_word_embeddings pad_token_id bos_token_id eos_token_id initializer_range id2label num_labels problem_type
    """.split()
)
# In `vision_config`, where older files repeat what only a language model reads.
VISION_IRRELEVANT = frozenset(
    "tie_word_embeddings pad_token_id bos_token_id eos_token_id id2label num_labels problem_type".split()
)

# Ignored at these values and at None only: any other asks for a computation that no model here has.
_NEUTRAL: dict[str, Any] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
}


def wrong_irrelevant(data: Mapping[str, Any], kind: str) -> list[str]:
    """A line for each key of `data` that would be ignored although its value asks something of this kind of model."""
    return [
        f"{key}: expected {neutral!r}, for the {kind} model has no such computation, got {data[key]!r}"
        for key, neutral in _NEUTRAL.items()
        if data.get(key) is not None and data[key] != neutral
    ]
