"""Checkpoint of the vision tower and of the whole: every kind of file into every class, stacks, and what is refused."""

import numpy as np
import pytest
from impl_cases import draw_weights
from multimodal_cases import CONFIGS

from jax_llama4 import (
    CheckpointError,
    Llama4Config,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4ForSequenceClassification,
    Llama4TextModel,
    Llama4VisionModel,
    Numerics,
    load_state_dict,
    to_state_dict,
)
from jax_llama4.checkpoint import abstract_model, parameters

FLOAT64 = Numerics.like_hf("float64")
CONFIG = Llama4Config.from_dict(CONFIGS["square"])
TEXT, VISION, PROJECTOR = "language_model.", "vision_model.", "multi_modal_projector."


SHAPED = parameters(abstract_model(Llama4ForConditionalGeneration, CONFIG, FLOAT64))
STATE = draw_weights({name: parameter.stored_shape for name, parameter in SHAPED.items()})


def part(prefix: str, state: dict[str, np.ndarray] = STATE) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# The class, its configuration, and the prefix of its part in a multimodal file.
CLASSES = {
    "whole": (Llama4ForConditionalGeneration, CONFIG, ""),
    "causal": (Llama4ForCausalLM, CONFIG.text_config, TEXT),
    "text": (Llama4TextModel, CONFIG.text_config, TEXT + "model."),
    "vision": (Llama4VisionModel, CONFIG.vision_config, VISION),
}
# Which classes find all they need in which files, by the prefix of the file's part.
FILES = {"": CLASSES, TEXT: ("causal", "text"), TEXT + "model.": ("text",), VISION: ("vision",)}
PAIRS = [(name, file) for file, names in FILES.items() for name in names]


@pytest.mark.parametrize(("name", "file"), PAIRS, ids=[f"{name} of {file or 'all'}" for name, file in PAIRS])
def test_every_class_takes_its_part_of_every_file_that_has_it(name, file):
    model_class, config, prefix = CLASSES[name]
    model = model_class.from_state_dict(config, part(file), numerics=FLOAT64)
    assert_equal(to_state_dict(model), part(prefix))


@pytest.mark.parametrize("name", ["whole", "causal", "vision"])
def test_a_configuration_has_a_class(name):
    model_class, config, prefix = CLASSES[name]
    assert type(load_state_dict(config, part(prefix), FLOAT64)) is model_class


def test_matrices_are_stored_transposed_the_square_ones_too():
    tower = Llama4VisionModel.from_state_dict(CONFIG.vision_config, STATE, numerics=FLOAT64)
    layer, adapter = tower.model.layers[1], tower.vision_adapter.mlp
    for name, found in {
        "patch_embedding.linear": tower.patch_embedding.linear,
        "vision_adapter.mlp.fc1": adapter.fc1,
        "vision_adapter.mlp.fc2": adapter.fc2,
        "model.layers.1.self_attn.q_proj": layer.self_attn.q_proj,
        "model.layers.1.self_attn.o_proj": layer.self_attn.o_proj,
        "model.layers.1.mlp.fc1": layer.mlp.fc1,
    }.items():
        np.testing.assert_array_equal(found.kernel[...], STATE[f"{VISION}{name}.weight"].T, err_msg=name)
    for name in ("class_embedding", "positional_embedding_vlm"):
        np.testing.assert_array_equal(getattr(tower, name)[...], STATE[VISION + name], err_msg=name)
    np.testing.assert_array_equal(layer.mlp.fc2.bias[...], STATE[VISION + "model.layers.1.mlp.fc2.bias"])


def test_biases_and_parallel_pairs_are_split_alike():
    found = {name: parameter.axes for name, parameter in SHAPED.items()}
    biases = [name for name in found if name.endswith("_proj.bias") or (".mlp." in name and name.endswith(".bias"))]
    assert len(biases) == 3 * 6  # of each layer: q, k, v, o, fc1 and fc2
    for name in biases:
        assert found[name] == found[name.replace(".bias", ".weight")][-1:], name
    for name, axes in found.items():
        if name.endswith("mlp.fc1.weight"):
            assert found[name.replace("fc1", "fc2")] == axes[::-1], name


def test_both_stacks_are_filled_row_by_row_and_written_back_as_layers():
    model = Llama4ForConditionalGeneration.from_state_dict(CONFIG, STATE, numerics=FLOAT64, scan_layers=True)
    assert [layer.layer_numbers for layer in model.vision_model.model.layers] == [(0, 1, 2)]
    assert [layer.layer_numbers for layer in model.language_model.model.layers] == [(0,), (1,), (2,), (3,)]
    keys = model.vision_model.model.layers[0].self_attn.k_proj
    for number in range(3):
        expected = STATE[f"{VISION}model.layers.{number}.self_attn.k_proj.weight"]
        np.testing.assert_array_equal(keys.kernel[number].T, expected)
    assert_equal(to_state_dict(model), STATE)


def test_a_tied_head_is_named_by_its_place_in_the_whole():
    data = CONFIGS["square"]["text_config"] | {"tie_word_embeddings": True}
    config = Llama4Config.from_dict(CONFIGS["square"] | {"text_config": data})
    head, table = TEXT + "lm_head.weight", TEXT + "model.embed_tokens.weight"
    state = {name: value for name, value in STATE.items() if name != head}
    model = Llama4ForConditionalGeneration.from_state_dict(config, state | {head: state[table]}, numerics=FLOAT64)
    text = model.language_model
    assert text.lm_head.embedding is text.model.embed_tokens.embedding
    assert_equal(to_state_dict(model), state)
    with pytest.raises(CheckpointError) as caught:
        load_state_dict(config, STATE, FLOAT64)
    assert caught.value.problems == (f"{head}: differs from {table}, but tie_word_embeddings is set",)


def problems(name: str, state: dict[str, np.ndarray], **options) -> tuple[str, ...]:
    model_class, config, _ = CLASSES[name]
    with pytest.raises(CheckpointError) as caught:
        model_class.from_state_dict(config, state, numerics=FLOAT64, **options)
    return caught.value.problems


@pytest.mark.parametrize("file", [TEXT, TEXT + "model.", VISION])
def test_a_part_is_not_the_whole_and_all_that_is_missing_is_named(file):
    missing = [f"{name}: missing, expected {value.shape}" for name, value in STATE.items() if not name.startswith(file)]
    assert len(missing) > 1
    assert problems("whole", part(file)) == tuple(missing)


@pytest.mark.parametrize(("name", "file"), [("vision", TEXT), ("causal", VISION), ("text", VISION)])
def test_a_file_of_the_other_half_has_nothing_for_the_class(name, file):
    (problem,) = problems(name, part(file))
    given = part(file)
    count, class_name = len(part(CLASSES[name][2])), CLASSES[name][0].__name__
    assert problem.startswith(f"not one of the {count} tensors of {class_name} is there, such as ")
    assert problem.endswith(f"but {len(given)} others, such as {next(iter(given))}")


@pytest.mark.parametrize(("name", "other"), [("vision", TEXT), ("causal", VISION)])
def test_a_multimodal_file_without_the_part_has_nothing_for_the_class(name, other):
    rest = {key: value for key, value in STATE.items() if key.startswith(other)}
    (problem,) = problems(name, rest)
    assert f", such as {CLASSES[name][2]}" in problem
    assert problem.endswith(f"but {len(rest)} others, such as {next(iter(rest))}")


def test_names_in_errors_are_those_of_the_file():
    norm = "layernorm_post.bias"
    for file, state in {VISION: STATE, "": part(VISION)}.items():
        broken = {name: value for name, value in state.items() if name != file + norm}
        broken[file + "rope.freqs"] = np.zeros(3)
        broken[file + "class_embedding"] = np.zeros(3)
        assert sorted(problems("vision", broken)) == [
            f"{file}class_embedding: expected shape (26,), got (3,)",
            f"{file}{norm}: missing, expected (26,)",
            f"{file}rope.freqs: unexpected, (3,)",
        ]


def test_what_is_no_part_is_unexpected_whoever_reads_it():
    for name in CLASSES:
        assert problems(name, STATE | {"audio_model.bias": np.zeros(3)}) == ("audio_model.bias: unexpected, (3,)",)


@pytest.mark.parametrize("prefix", [TEXT, TEXT + "model.", VISION, PROJECTOR])
def test_what_is_unknown_in_a_part_is_unexpected_to_the_whole(prefix):
    assert problems("whole", STATE | {prefix + "rope.freqs": np.zeros(3)}) == (f"{prefix}rope.freqs: unexpected, (3,)",)


def test_two_kinds_of_file_in_one_are_refused():
    found = problems("vision", STATE | part(VISION))
    assert sorted(found) == sorted(f"{name}: unexpected, {value.shape}" for name, value in part(VISION).items())


def test_a_missing_row_of_the_vision_stack_is_named_by_its_layer():
    name = VISION + "model.layers.2.mlp.fc1.bias"
    state = {key: value for key, value in STATE.items() if key != name}
    assert problems("whole", state, scan_layers=True) == (f"{name}: missing, expected (104,)",)


def test_the_score_comes_from_its_own_file_and_the_rest_from_a_multimodal_one():
    config = CONFIG.text_config
    with pytest.raises(CheckpointError) as caught:
        Llama4ForSequenceClassification.from_state_dict(config, STATE, numerics=FLOAT64)
    shape = (config.num_labels, config.hidden_size)
    assert caught.value.problems == (f"{TEXT}score.weight: missing, expected {shape}",)
    state = STATE | {TEXT + "score.weight": np.ones(shape)}
    model = Llama4ForSequenceClassification.from_state_dict(config, state, numerics=FLOAT64)
    assert_equal(to_state_dict(model), {k: v for k, v in part(TEXT, state).items() if k != "lm_head.weight"})
