"""from_pretrained and save_pretrained against transformers: HF's folders and ours, bit for bit, of every class."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from impl_cases import CONFIGS
from pretrained_cases import SHARDED, assert_same_bits, drawn, stored
from safetensors import safe_open
from safetensors.numpy import save_file

from jax_llama4 import (
    CheckpointError,
    Llama4Config,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4ForSequenceClassification,
    Llama4TextModel,
    Llama4VisionConfig,
    Llama4VisionModel,
    Numerics,
    to_state_dict,
)

HERE = Path(__file__).parent


def run_hf(verb: str, folder: Path) -> None:
    command = [sys.executable, str(HERE / "hf_pretrained.py"), verb, str(folder)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    run_hf("write", folder)
    return folder


class Case(NamedTuple):
    """A folder that HF wrote, the class that reads it here, the part that it takes, how it is written back."""

    folder: str
    model_class: Any
    part: str = ""
    options: Mapping[str, int] = MappingProxyType({})


CASES = {
    "single f32": Case("single f32", Llama4ForCausalLM),
    "shards bf16": Case("shards bf16", Llama4ForCausalLM, options=SHARDED),
    "tied bf16": Case("tied bf16", Llama4ForCausalLM),
    "headless f32": Case("headless f32", Llama4TextModel, options=SHARDED),
    "multimodal bf16": Case("multimodal bf16", Llama4ForConditionalGeneration, options=SHARDED),
    "multimodal tied bf16": Case("multimodal tied bf16", Llama4ForConditionalGeneration),
    "text of multimodal bf16": Case("multimodal bf16", Llama4ForCausalLM, "language_model."),
    "headless text of multimodal bf16": Case("multimodal bf16", Llama4TextModel, "language_model.model."),
    "vision of multimodal bf16": Case("multimodal bf16", Llama4VisionModel, "vision_model.", SHARDED),
    "vision f32": Case("vision f32", Llama4VisionModel),
}
TIED = {"tied bf16": ["lm_head.weight"], "multimodal tied bf16": ["language_model.lm_head.weight"]}


@pytest.fixture(scope="module")
def written_back(hf_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    for name, case in CASES.items():
        case.model_class.from_pretrained(hf_folder / case.folder).save_pretrained(folder / name, **case.options)
    run_hf("read", folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_what_hf_wrote_is_written_back_bit_for_bit(name, hf_folder, written_back):
    part = CASES[name].part
    tensors = stored(hf_folder / CASES[name].folder)
    expected = {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}
    assert_same_bits(stored(written_back / name), expected)


@pytest.mark.parametrize("name", CASES)
def test_hf_loads_what_is_written_here(name, hf_folder, written_back):
    case = CASES[name]
    found = json.loads((written_back / f"{name}.json").read_text())
    assert found["class"] == case.model_class.__name__
    assert found["dtype"] == {"f32": "float32", "bf16": "bfloat16"}[name.split()[-1]]
    assert found["trouble"] == {}
    assert found["unequal"] == []
    assert found["not in file"] == TIED.get(name, [])
    assert found["head is the table"] == (name in TIED)
    original = case.model_class.config_class.from_json(hf_folder / case.folder)
    assert original.from_dict(found["config"]) == original
    assert original.from_json(written_back / name) == original


def test_fields_that_no_model_reads_are_kept(written_back):
    for name in ("vision f32", "vision of multimodal bf16", "multimodal bf16"):
        found = Llama4VisionConfig.from_json(written_back / name)
        defaults = {field.name: field.default for field in dataclasses.fields(found)}
        for field in (
            "norm_eps projector_dropout attention_dropout vision_feature_layer vision_feature_select_strategy "
            "multi_modal_projector_bias initializer_range"
        ).split():
            assert getattr(found, field) != defaults[field], f"{name}: {field}"


def test_files_are_laid_out_as_hf_does(hf_folder, written_back):
    ours, hfs = written_back / "shards bf16", hf_folder / "shards bf16"
    names = sorted(file.name for file in ours.iterdir())
    count = len(names) - 2
    shards = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    assert count > 2
    assert names == sorted(["config.json", "model.safetensors.index.json", *shards])
    index, hf_index = (json.loads((folder / "model.safetensors.index.json").read_text()) for folder in (ours, hfs))
    assert index["metadata"] == hf_index["metadata"]
    assert set(index["weight_map"]) == set(hf_index["weight_map"])
    for name in shards:
        with safe_open(ours / name, framework="numpy") as file:
            assert file.metadata() == {"format": "pt"}
            held = {key for key in file.keys()}  # noqa: SIM118
        assert held == {key for key, file in index["weight_map"].items() if file == name}
        assert len(held) == 1 or (ours / name).stat().st_size < 9000 + 1000
    assert [file.name for file in (written_back / "single f32").iterdir()].count("model.safetensors") == 1


def test_the_stored_dtype_is_kept_unless_another_is_asked_for(hf_folder):
    folder = hf_folder / "shards bf16"
    kept = Llama4ForCausalLM.from_pretrained(folder)
    assert kept.numerics == Numerics.like_hf("bfloat16")
    wide = Llama4ForCausalLM.from_pretrained(folder, dtype="float32", param_dtype="float64", precision="default")
    assert (wide.numerics.compute, wide.numerics.param) == (jnp.dtype("float32"), jnp.dtype("float64"))
    assert wide.numerics.precision == "default"
    assert wide.lm_head.kernel.dtype == jnp.dtype("float64")
    narrow = Llama4ForCausalLM.from_pretrained(hf_folder / "single f32", numerics=Numerics.like_hf("bfloat16"))
    assert_same_bits(to_state_dict(narrow), to_state_dict(kept))


def test_a_headless_model_is_read_from_every_kind_of_file(hf_folder):
    for name in ("single f32", "multimodal bf16", "tied bf16", "multimodal tied bf16"):
        whole = to_state_dict(Llama4ForCausalLM.from_pretrained(hf_folder / name))
        whole.pop("lm_head.weight", None)
        found = to_state_dict(Llama4TextModel.from_pretrained(hf_folder / name))
        assert_same_bits(found, {key.removeprefix("model."): value for key, value in whole.items()})


def test_a_head_that_the_file_does_not_have_is_missing_not_random(hf_folder, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_pretrained(hf_folder / "headless f32")
    assert caught.value.problems == ("lm_head.weight: missing, expected (61, 24)",)
    with pytest.raises(CheckpointError) as caught:
        Llama4ForSequenceClassification.from_pretrained(hf_folder / "single f32")
    assert caught.value.problems == ("score.weight: missing, expected (2, 24)",)

    model = drawn(Llama4ForSequenceClassification, CONFIGS["scout"])
    model.save_pretrained(tmp_path / "score")
    again = Llama4ForSequenceClassification.from_pretrained(tmp_path / "score")
    assert_same_bits(to_state_dict(again), to_state_dict(model))
    assert stored(tmp_path / "score")["score.weight"].shape == (2, 24)


def refused(model_class: Any, folder: Path) -> tuple[str, ...]:
    with pytest.raises(CheckpointError) as caught:
        model_class.from_pretrained(folder)
    return caught.value.problems


def test_a_file_with_nothing_for_the_class_says_so_in_one_line(hf_folder, tmp_path):
    shutil.copytree(hf_folder / "single f32", tmp_path / "vision")
    save_file({"vision_model.class_embedding": np.ones(3, np.float32)}, tmp_path / "vision" / "model.safetensors")
    assert refused(Llama4ForCausalLM, tmp_path / "vision") == (
        "not one of the 51 tensors of Llama4ForCausalLM is there, such as language_model.lm_head.weight, "
        "but 1 others, such as vision_model.class_embedding",
    )


def test_a_folder_of_another_kind_of_model_is_refused_by_its_config(hf_folder):
    text, vision, whole = "'llama4_text'", "'llama4_vision_model'", "'llama4' with text_config and vision_config"
    for model_class, name, expected, got in [
        (Llama4ForConditionalGeneration, "single f32", whole, f"{text} with neither"),
        (Llama4ForConditionalGeneration, "vision f32", whole, f"{vision} with neither"),
        (Llama4VisionModel, "single f32", vision, text),
        (Llama4ForCausalLM, "vision f32", text, vision),
    ]:
        assert f"config.json: model_type: expected {expected}, got {got}" in refused(model_class, hf_folder / name)


def test_a_model_of_each_part_is_made_of_the_same_multimodal_folder(hf_folder):
    folder = hf_folder / "multimodal bf16"
    whole = Llama4ForConditionalGeneration.from_pretrained(folder)
    assert whole.numerics == Numerics.like_hf("bfloat16")
    assert whole.config == Llama4Config.from_json(folder)
    for model_class, part in (
        (Llama4VisionModel, whole.vision_model),
        (Llama4ForCausalLM, whole.language_model),
        (Llama4TextModel, whole.language_model.model),
    ):
        assert_same_bits(to_state_dict(model_class.from_pretrained(folder)), to_state_dict(part))
