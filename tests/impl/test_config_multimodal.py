"""The multimodal configuration: its halves, HF's two names for its tokens, and what must be refused."""

import json

import pytest
from multimodal_cases import CONFIGS

from jax_llama4.config import Llama4TextConfig
from jax_llama4.config_base import ConfigError
from jax_llama4.config_multimodal import Llama4Config
from jax_llama4.config_vision import Llama4VisionConfig

DATA = CONFIGS["square"]


def problems(data: dict) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Llama4Config.from_dict(data)
    return caught.value.problems


@pytest.mark.parametrize("name", CONFIGS)
def test_each_half_is_read_alike_alone_and_together(name):
    config = Llama4Config.from_dict(CONFIGS[name])
    assert config.text_config == Llama4TextConfig.from_dict(CONFIGS[name]["text_config"])
    assert config.vision_config == Llama4VisionConfig.from_dict(CONFIGS[name]["vision_config"])
    assert config.get_text_config() is config.text_config
    assert config.text_config.get_text_config() is config.text_config
    assert config.image_token_index == CONFIGS[name]["image_token_index"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_hashable_and_survives_json(name, tmp_path):
    config = Llama4Config.from_dict(CONFIGS[name])
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    again = Llama4Config.from_json(tmp_path)
    assert again == config and hash(again) == hash(config)
    assert Llama4TextConfig.from_json(tmp_path) == config.text_config
    assert Llama4VisionConfig.from_json(tmp_path) == config.vision_config


def test_tokens_default_to_hfs():
    config = Llama4Config.from_dict({name: DATA[name] for name in ("text_config", "vision_config")})
    assert (config.boi_token_index, config.eoi_token_index, config.image_token_index) == (200080, 200081, 200092)


def test_tokens_have_two_names():
    halves = {name: DATA[name] for name in ("text_config", "vision_config")}
    both = halves | {"boi_token_id": 7, "eoi_token_id": 8, "image_token_id": 9, "image_token_index": 9}
    config = Llama4Config.from_dict(both)
    assert (config.boi_token_index, config.eoi_token_index, config.image_token_index) == (7, 8, 9)


def test_only_the_flag_of_the_text_half_ties():
    assert not Llama4Config.from_dict(DATA | {"tie_word_embeddings": True}).text_config.tie_word_embeddings


def test_a_missing_half_has_hfs_defaults():
    config = Llama4Config.from_dict({"model_type": "llama4", "vision_config": DATA["vision_config"]})
    assert config.text_config == Llama4TextConfig()
    (problem,) = problems({"text_config": DATA["text_config"], "vision_config": None})
    assert problem.startswith("vision_config.intermediate_size: 5632 is not 3072, ")
    assert problems({"model_type": "llama4"}) == (problem,)


def test_everything_wrong_in_both_halves_is_named_at_once():
    wrong = {
        "text_config": DATA["text_config"] | {"hidden_act": "gelu", "sliding_window": 4},
        "vision_config": DATA["vision_config"] | {"num_channels": 0},
        "image_token_index": -1,
        "boi_token_index": 1.0,
        "audio_config": {},
    }
    with pytest.raises(ConfigError) as caught:
        Llama4Config.from_dict(wrong)
    assert str(caught.value) == (
        "Llama4Config:"
        "\n  audio_config: unknown key beside text_config"
        "\n  text_config.sliding_window: unknown key"
        "\n  text_config.hidden_act: expected 'silu', got 'gelu'"
        "\n  vision_config.num_channels: expected a positive int, got 0"
        "\n  boi_token_index: expected a token id of 0 or more, got 1.0"
        "\n  image_token_index: expected a token id of 0 or more, got -1"
    )


REFUSED = [
    (
        {"vision_config": DATA["vision_config"] | {"vision_output_dim": 7680}},
        "vision_config.vision_output_dim: 7680 is not projector_output_dim, 22, but the multimodal projector takes "
        "what the adapter gives",
    ),
    ({"image_token_index": True}, "image_token_index: expected a token id of 0 or more, got True"),
    ({"image_token_id": 5}, f"image_token_index: {DATA['image_token_index']} differs from image_token_id, 5"),
    ({"model_type": "llama4_text"}, "model_type: expected 'llama4' beside text_config, got 'llama4_text'"),
    (
        {"text_config": DATA["text_config"] | {"text_config": {}}},
        "text_config.text_config: unknown key",
    ),
    (
        {"is_encoder_decoder": True},
        "is_encoder_decoder: expected False, for the multimodal model has no such computation, got True",
    ),
]


@pytest.mark.parametrize(("data", "problem"), REFUSED, ids=[problem.split(",")[0] for _, problem in REFUSED])
def test_refused(data, problem):
    assert problems(DATA | data) == (problem,)


def test_half_a_model_is_no_multimodal_one():
    expected = "model_type: expected 'llama4' with text_config and vision_config, got "
    assert problems(Llama4TextConfig(num_hidden_layers=2).to_dict()) == (expected + "'llama4_text' with neither",)
    assert problems({}) == (expected + "None with neither",)


def test_a_half_of_another_class_is_refused():
    text, vision = (Llama4Config.from_dict(DATA).text_config, Llama4Config.from_dict(DATA).vision_config)
    with pytest.raises(ConfigError, match=r"text_config: expected a Llama4TextConfig, got Llama4VisionConfig\("):
        Llama4Config(text_config=vision, vision_config=vision)
    with pytest.raises(ConfigError, match=r"vision_config: expected a Llama4VisionConfig, got None"):
        Llama4Config(text_config=text, vision_config=None)
