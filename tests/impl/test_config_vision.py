"""The vision configuration: sizes that follow, old and composite files, and everything that must be refused."""

import json

import pytest

from jax_llama4.config_base import ConfigError
from jax_llama4.config_vision import Llama4VisionConfig

# The tower of both released models, as the first files had it.
RELEASED = {
    "model_type": "llama4_vision_model",
    "hidden_size": 1408,
    "image_size": 336,
    "vision_output_dim": 4096,
    "rope_theta": 10000,
    "vision_feature_layer": -1,
    "_attn_implementation_autoset": True,
}
# Heads of 4, patches of 2 x 2, three a side.
TINY = {
    "hidden_size": 13,
    "intermediate_size": 13 * 9,
    "num_attention_heads": 3,
    "image_size": 7,
    "patch_size": 2,
    "pixel_shuffle_ratio": 1 / 3,
}


def problems(data: dict) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Llama4VisionConfig.from_dict(data)
    return caught.value.problems


def test_sizes_of_the_released_tower():
    config = Llama4VisionConfig.from_dict(RELEASED)
    assert (config.head_dim, config.patches_per_side, config.num_patches, config.tokens_per_tile) == (88, 24, 576, 144)
    assert config.rope_parameters.to_dict() == {"rope_type": "default", "rope_theta": 10000}


def test_heads_and_pixels_that_do_not_come_out_even_are_rounded_down():
    config = Llama4VisionConfig.from_dict(TINY)
    assert (config.head_dim, config.patches_per_side, config.num_patches, config.tokens_per_tile) == (4, 3, 9, 1)


def test_theta_defaults_to_that_of_images():
    assert Llama4VisionConfig.from_dict(TINY).rope_parameters.rope_theta == 10000.0
    assert Llama4VisionConfig.from_dict(TINY | {"rope_theta": 5.0}).rope_parameters.rope_theta == 5.0


def test_hfs_defaults_contradict_one_another():
    with pytest.raises(ConfigError) as caught:
        Llama4VisionConfig()
    assert str(caught.value) == (
        "Llama4VisionConfig:\n  intermediate_size: 5632 is not 3072, hidden_size / pixel_shuffle_ratio², "
        "which the adapter gets"
    )


def test_a_config_is_hashable_and_survives_json():
    kept = {"norm_eps": 0.5, "attention_dropout": 0.1, "projector_dropout": 0.2, "vision_feature_layer": -2}
    kept |= {"vision_feature_select_strategy": "full", "multi_modal_projector_bias": True}
    config = Llama4VisionConfig(**TINY, **kept)
    again = Llama4VisionConfig.from_json(json.dumps(config.to_dict()))
    assert again == config and hash(again) == hash(config)
    assert {name: again.to_dict()[name] for name in kept} == kept


def test_the_vision_half_of_a_composite_file(tmp_path):
    composite = {"model_type": "llama4", "text_config": {"any": 1}, "vision_config": RELEASED, "image_token_id": 5}
    (tmp_path / "config.json").write_text(json.dumps(composite))
    assert Llama4VisionConfig.from_json(tmp_path) == Llama4VisionConfig.from_dict(RELEASED)


def test_two_equal_sides_are_one():
    square = Llama4VisionConfig.from_dict(TINY | {"image_size": [7, 7], "patch_size": (2, 2)})
    assert square == Llama4VisionConfig.from_dict(TINY)


def test_what_older_files_repeat_of_the_text_model_is_ignored():
    repeated = {"pad_token_id": None, "tie_word_embeddings": True, "id2label": {"0": "a"}, "top_k": 50}
    assert Llama4VisionConfig.from_dict(TINY | repeated) == Llama4VisionConfig.from_dict(TINY)


def test_all_that_is_wrong_is_named_at_once():
    wrong = {"hidden_size": 10, "num_attention_heads": 3, "image_size": 3, "patch_size": 4, "hidden_act": "silu"}
    wrong |= {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}, "projector_input_dim": 3, "qkv_bias": True}
    assert problems(wrong) == (
        "qkv_bias: unknown key",
        "rope_parameters.rope_type: expected 'default', got 'llama3'",
        "num_attention_heads: 3 heads of hidden_size, 10, are 3 wide, but rope rotates pairs along two sides, "
        "so a multiple of 4 is expected",
        "projector_input_dim: 3 is not projector_output_dim, 4096, but the adapter's last matrix takes the one and "
        "is made for the other",
        "image_size: 3 is less than patch_size, 4",
        "intermediate_size: 5632 is not 40, hidden_size / pixel_shuffle_ratio², which the adapter gets",
        "hidden_act: expected 'gelu', got 'silu'",
    )


ONE_OVER = "pixel_shuffle_ratio: expected 1 over a positive int, got "
REFUSED = [
    ({"model_type": "llama4_text"}, "model_type: expected 'llama4_vision_model', got 'llama4_text'"),
    ({"num_channels": 0}, "num_channels: expected a positive int, got 0"),
    ({"vision_output_dim": 22.0}, "vision_output_dim: expected a positive int, got 22.0"),
    ({"image_size": [7, 8]}, "image_size: expected a positive int, got [7, 8]"),
    ({"patch_size": (2, 3)}, "patch_size: expected a positive int, got (2, 3)"),
    ({"initializer_range": "small"}, "initializer_range: expected a number, got 'small'"),
    ({"pixel_shuffle_ratio": float("nan")}, "pixel_shuffle_ratio: expected a finite number, got nan"),
    ({"pixel_shuffle_ratio": 0.4}, ONE_OVER + "0.4"),
    ({"pixel_shuffle_ratio": 0.0}, ONE_OVER + "0.0"),
    ({"pixel_shuffle_ratio": -0.5}, ONE_OVER + "-0.5"),
    ({"pixel_shuffle_ratio": 2}, ONE_OVER + "2"),
    ({"pixel_shuffle_ratio": 1 / 49}, ONE_OVER + repr(1 / 49)),
    (
        {"pixel_shuffle_ratio": 0.5, "intermediate_size": 4 * 13},
        "pixel_shuffle_ratio: joins 2 patches a side, which do not divide the 3 of an image, image_size // patch_size",
    ),
    (
        {"num_attention_heads": 2},
        "num_attention_heads: 2 heads of hidden_size, 13, are 6 wide, but rope rotates pairs along two sides, "
        "so a multiple of 4 is expected",
    ),
    (
        {"num_attention_heads": 14},
        "num_attention_heads: 14 heads of hidden_size, 13, are 0 wide, but rope rotates pairs along two sides, "
        "so a multiple of 4 is expected",
    ),
    ({"vision_feature_layer": [-2, -5]}, "vision_feature_layer: expected an int, got [-2, -5]"),
    ({"multi_modal_projector_bias": 1}, "multi_modal_projector_bias: expected a bool, got 1"),
    ({"pruned_heads": {"0": [1]}}, "pruned_heads: expected {}, for the vision model has no such computation, got "),
    (
        {"partial_rotary_factor": 0.5},
        "rope_parameters.partial_rotary_factor: expected 1.0, rope over part of a head is not computed",
    ),
]


@pytest.mark.parametrize(("data", "problem"), REFUSED, ids=[problem.split(",")[0] for _, problem in REFUSED])
def test_refused(data, problem):
    (found,) = problems(TINY | data)
    assert found.startswith(problem)
