"""Configuration: derived fields, old and composite files, and everything that must be refused, by its text."""

import json

import pytest

from jax_llama4 import ConfigError, Llama4TextConfig, RopeParameters

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 16.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
}


def problems(data: dict) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Llama4TextConfig.from_dict(data)
    return caught.value.problems


def test_scout_layers_from_defaults():
    config = Llama4TextConfig()
    assert config.moe_layers == tuple(range(48))
    assert [i for i, rope in enumerate(config.no_rope_layers) if not rope] == list(range(3, 48, 4))
    assert {config.layer_types[i] for i in range(3, 48, 4)} == {"full_attention"}
    assert config.layer_types.count("chunked_attention") == 36


def test_maverick_layers_interleave():
    assert Llama4TextConfig(interleave_moe_layer_step=2).moe_layers == tuple(range(1, 48, 2))


def test_empty_lists_mean_default_rope_and_no_experts():
    config = Llama4TextConfig(num_hidden_layers=4, no_rope_layers=[], moe_layers=[], interleave_moe_layer_step=0)
    assert config.no_rope_layers == (1, 1, 1, 0)
    assert config.moe_layers == ()


def test_a_config_is_hashable_and_survives_json():
    config = Llama4TextConfig(num_hidden_layers=4, rope_parameters=LLAMA3, eos_token_id=[1, 2])
    again = Llama4TextConfig.from_json(json.dumps(config.to_dict()))
    assert again == config and hash(again) == hash(config)


def test_from_json_takes_a_file_and_its_folder(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(Llama4TextConfig(num_hidden_layers=2).to_dict()))
    assert Llama4TextConfig.from_json(file) == Llama4TextConfig.from_json(str(tmp_path))


def test_an_old_file_reads_like_a_new_one():
    old = {
        "model_type": "llama4_text",
        "rope_theta": 500000.0,
        "rope_scaling": LLAMA3,
        "torch_dtype": "bfloat16",
        "attn_temperature_tuning": 4,
        "no_rope_layers": [],
        "cache_implementation": "hybrid",
    }
    assert Llama4TextConfig.from_dict(old) == Llama4TextConfig(rope_parameters=LLAMA3 | {"rope_theta": 500000.0})
    assert Llama4TextConfig.from_dict(old).attn_temperature_tuning is True


def test_type_is_the_old_name_of_rope_type():
    old = {("type" if key == "rope_type" else key): value for key, value in LLAMA3.items()}
    assert Llama4TextConfig.from_dict({"rope_scaling": old}).rope_parameters.rope_type == "llama3"


def test_theta_defaults_and_llama3_takes_the_context_from_the_positions():
    short = {key: value for key, value in LLAMA3.items() if key != "original_max_position_embeddings"}
    rope = Llama4TextConfig(rope_parameters=short, max_position_embeddings=4096).rope_parameters
    assert rope == RopeParameters(500000.0, "llama3", 16.0, 1.0, 1.0, 4096)


def test_the_text_half_of_a_composite_file():
    text = Llama4TextConfig(num_hidden_layers=2).to_dict()
    composite = {"model_type": "llama4", "text_config": text, "vision_config": {"any": 1}, "image_token_index": 5}
    # HF: ties by the flag of the text half only.
    composite["tie_word_embeddings"] = True
    assert Llama4TextConfig.from_dict(composite) == Llama4TextConfig(num_hidden_layers=2)


def test_from_hf_reads_any_object_with_to_dict():
    class Hf:
        def to_dict(self):
            return {"num_hidden_layers": 2, "architectures": ["Llama4ForCausalLM"], "id2label": {0: "a"}}

    assert Llama4TextConfig.from_hf(Hf()) == Llama4TextConfig(num_hidden_layers=2, id2label=["a"])


def test_all_unknown_keys_and_wrong_values_are_named_at_once():
    found = problems({"sliding_window": 4, "quantization_config": {}, "hidden_act": "gelu", "vocab_size": "many"})
    assert found == (
        "quantization_config: unknown key",
        "sliding_window: unknown key",
        "vocab_size: expected a positive int, got 'many'",
        "hidden_act: expected 'silu', got 'gelu'",
    )


def test_the_message_has_one_line_per_problem():
    with pytest.raises(ConfigError) as caught:
        Llama4TextConfig(hidden_act="gelu", head_dim=3)
    assert str(caught.value) == "Llama4TextConfig:\n  hidden_act: expected 'silu', got 'gelu'"


def test_irrelevant_keys_are_ignored_where_they_ask_for_nothing():
    neutral = {"pruned_heads": {}, "add_cross_attention": False, "is_encoder_decoder": False, "is_decoder": True}
    neutral |= {"tie_encoder_decoder": False, "cross_attention_hidden_size": None, "top_k": 50}
    assert Llama4TextConfig.from_dict({"num_hidden_layers": 2} | neutral) == Llama4TextConfig(num_hidden_layers=2)


ROPE = "rope_parameters."
NONE_SUCH = "for the text model has no such computation"
REFUSED = [
    ({"text_config": {}, "audio_config": {}}, "audio_config: unknown key beside text_config"),
    ({"text_config": {}, "model_type": "gemma"}, "model_type: expected 'llama4' beside text_config, got 'gemma'"),
    ({"model_type": "llama"}, "model_type: expected 'llama4_text', got 'llama'"),
    ({"rope_parameters": {"rope_type": "yarn"}}, ROPE + "rope_type: expected 'default' or 'llama3', got 'yarn'"),
    ({"rope_parameters": {"factor": 2.0}}, ROPE + "factor: unknown key for rope_type 'default'"),
    (
        {"rope_parameters": {k: v for k, v in LLAMA3.items() if k != "factor"}},
        ROPE + "factor: missing, rope_type 'llama3' needs it",
    ),
    ({"rope_parameters": LLAMA3 | {"factor": 0}}, ROPE + "factor: expected a positive number, got 0"),
    (
        {"partial_rotary_factor": 0.5},
        ROPE + "partial_rotary_factor: expected 1.0, rope over part of a head is not computed",
    ),
    (
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}},
        "rope_theta: 10000.0 differs from the 500000.0 of rope_parameters",
    ),
    ({"attention_chunk_size": None}, "attention_chunk_size: None, but layer_types has chunked_attention"),
    ({"attention_chunk_size": 0}, "attention_chunk_size: expected a positive int or None, got 0"),
    (
        {"num_hidden_layers": 2, "no_rope_layers": [1]},
        "no_rope_layers: expected 2 entries, one per layer, got 1",
    ),
    (
        {"num_hidden_layers": 1, "layer_types": ["full_attention"] * 2},
        "layer_types: expected 1 entries, one per layer, got 2",
    ),
    (
        {"num_hidden_layers": 1, "layer_types": ["sliding_attention"]},
        "layer_types: expected chunked_attention or full_attention, got ['sliding_attention']",
    ),
    (
        {"num_hidden_layers": 1, "no_rope_layers": [2]},
        "no_rope_layers: expected 0 (no rope) and 1 (rope) only, got [2]",
    ),
    ({"num_hidden_layers": 2, "moe_layers": [0, 2]}, "moe_layers: expected layers 0 to 1, got [2]"),
    (
        {"interleave_moe_layer_step": 0},
        "interleave_moe_layer_step: expected a positive int while moe_layers is None, got 0",
    ),
    (
        {"num_experts_per_tok": 17},
        "num_experts_per_tok: expected 1 to num_local_experts, 16, while moe_layers is not empty, got 17",
    ),
    (
        {"num_key_value_heads": 7},
        "num_attention_heads: 40 is not a multiple of num_key_value_heads, 7",
    ),
    ({"head_dim": 7}, "head_dim: rope rotates pairs, so an even number is expected, got 7"),
    ({"floor_scale": 8192.0}, "floor_scale: expected a positive int, got 8192.0"),
    ({"use_qk_norm": "yes"}, "use_qk_norm: expected a bool, got 'yes'"),
    ({"rms_norm_eps": None}, "rms_norm_eps: expected a number, got None"),
    ({"rms_norm_eps": 0}, "rms_norm_eps: expected a number above 0, got 0"),
    ({"rms_norm_eps": -1e-5}, "rms_norm_eps: expected a number above 0, got -1e-05"),
    ({"rms_norm_eps": float("inf")}, "rms_norm_eps: expected a finite number, got inf"),
    ({"attn_scale": float("nan")}, "attn_scale: expected a finite number, got nan"),
    ({"num_hidden_layers": 2, "moe_layers": [1, 1]}, "moe_layers: expected each layer once, got [1, 1]"),
    ({"num_hidden_layers": 2, "moe_layers": [-1]}, "moe_layers: expected layers 0 to 1, got [-1]"),
    ({"pruned_heads": {"0": [1]}}, f"pruned_heads: expected {{}}, {NONE_SUCH}, got {{'0': [1]}}"),
    ({"add_cross_attention": True}, f"add_cross_attention: expected False, {NONE_SUCH}, got True"),
    ({"is_encoder_decoder": True}, f"is_encoder_decoder: expected False, {NONE_SUCH}, got True"),
    ({"tie_encoder_decoder": True}, f"tie_encoder_decoder: expected False, {NONE_SUCH}, got True"),
    ({"cross_attention_hidden_size": 64}, f"cross_attention_hidden_size: expected None, {NONE_SUCH}, got 64"),
    ({"text_config": {}, "pruned_heads": {"0": [1]}}, f"pruned_heads: expected {{}}, {NONE_SUCH}, got {{'0': [1]}}"),
]


@pytest.mark.parametrize(("data", "problem"), REFUSED, ids=[problem.split(":")[0] for _, problem in REFUSED])
def test_refused(data, problem):
    assert problems(data) == (problem,)
