"""from_pretrained and save_pretrained: HF's folders and ours, bit for bit, and every way a folder can be wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS, draw_weights
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jax_llama4 import (
    CheckpointError,
    Llama4ForCausalLM,
    Llama4ForSequenceClassification,
    Llama4TextConfig,
    Llama4TextModel,
    Numerics,
    make_mesh,
    tensor_files,
    to_state_dict,
)
from jax_llama4.checkpoint import abstract_model, parameters

HERE = Path(__file__).parent
SHARDED = {"max_shard_bytes": 9000}


def drawn(model_class: Any, case: str) -> Any:
    config, numerics = Llama4TextConfig.from_dict(CONFIGS[case]), Numerics.like_hf("bfloat16")
    wanted = parameters(abstract_model(model_class, config, numerics))
    state = draw_weights({name: parameter.stored_shape for name, parameter in wanted.items()})
    return model_class.from_state_dict(config, state, numerics=numerics)


def run_hf(verb: str, folder: Path) -> None:
    command = [sys.executable, str(HERE / "hf_pretrained.py"), verb, str(folder)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    run_hf("write", folder)
    return folder


# What HF wrote, the class that reads it here, and how it is written back.
CASES = {
    "single f32": (Llama4ForCausalLM, {}),
    "shards bf16": (Llama4ForCausalLM, SHARDED),
    "tied bf16": (Llama4ForCausalLM, {}),
    "headless f32": (Llama4TextModel, SHARDED),
    "multimodal bf16": (Llama4ForCausalLM, {}),
}


@pytest.fixture(scope="module")
def written_back(hf_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    for name, (model_class, options) in CASES.items():
        model_class.from_pretrained(hf_folder / name).save_pretrained(folder / name, **options)
    run_hf("read", folder)
    return folder


def stored(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder, by the official reader."""
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("name", CASES)
def test_what_hf_wrote_is_written_back_bit_for_bit(name, hf_folder, written_back):
    expected = {
        key.removeprefix("language_model."): value
        for key, value in stored(hf_folder / name).items()
        if not key.startswith(("vision_model.", "multi_modal_projector."))
    }
    assert_same_bits(stored(written_back / name), expected)


@pytest.mark.parametrize("name", CASES)
def test_hf_loads_what_is_written_here(name, hf_folder, written_back):
    found = json.loads((written_back / f"{name}.json").read_text())
    assert found["class"] == CASES[name][0].__name__
    assert found["dtype"] == {"f32": "float32", "bf16": "bfloat16"}[name.split()[1]]
    assert found["trouble"] == {}
    assert found["unequal"] == []
    assert found["not in file"] == (["lm_head.weight"] if name.startswith("tied") else [])
    original = Llama4TextConfig.from_json(hf_folder / name)
    assert Llama4TextConfig.from_dict(found["config"]) == original
    assert Llama4TextConfig.from_json(written_back / name) == original


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
    for name in ("single f32", "multimodal bf16", "tied bf16"):
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

    model = drawn(Llama4ForSequenceClassification, "scout")
    model.save_pretrained(tmp_path / "score")
    again = Llama4ForSequenceClassification.from_pretrained(tmp_path / "score")
    assert_same_bits(to_state_dict(again), to_state_dict(model))
    assert stored(tmp_path / "score")["score.weight"].shape == (2, 24)


def test_a_file_with_nothing_for_the_class_says_so_in_one_line(hf_folder, tmp_path):
    shutil.copytree(hf_folder / "single f32", tmp_path / "vision")
    save_file({"vision_model.class_embedding": np.ones(3, np.float32)}, tmp_path / "vision" / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_pretrained(tmp_path / "vision")
    assert caught.value.problems == (
        "not one of the 51 tensors of Llama4ForCausalLM is there, such as language_model.lm_head.weight, "
        "but 1 others, such as vision_model.class_embedding",
    )


def test_everything_wrong_with_a_folder_is_said_at_once(hf_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(hf_folder / "shards bf16", folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    placed = index["weight_map"]
    lost, cut, odd = placed["model.norm.weight"], placed["lm_head.weight"], placed["model.embed_tokens.weight"]
    assert len({lost, cut, odd}) == 3
    (folder / lost).unlink()
    whole = (folder / cut).read_bytes()
    (folder / cut).write_bytes(whole[:-5])
    tensors = load_file(folder / odd)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].T.copy()
    save_file(tensors | {"extra": np.ones(1, np.float32)}, folder / odd)
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_pretrained(folder)
    gone = [name for name, file in placed.items() if file == lost]
    problems = set(caught.value.problems)
    assert {
        f"{lost}: missing file, the index places {len(gone)} tensors in it, such as {gone[0]}",
        f"{cut}: truncated, expected {len(whole)} bytes, got {len(whole) - 5}",
        f"extra: {odd} holds it, the index does not name it",
        "extra: unexpected, (1,)",
        "model.embed_tokens.weight: expected shape (61, 24), got (24, 61)",
        "model.norm.weight: missing, expected (24,)",
    } <= problems
    assert len(problems) == len(caught.value.problems) == 5 + len(gone)


def rewrite_header(file: Path, change) -> None:
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = change(raw[8 : 8 + length])
    file.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])


def _no_file(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    return f"{folder}: expected *.safetensors files, found none"


def _no_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return f"{folder / 'config.json'}: missing file"


def _bad_config(folder: Path) -> str:
    (folder / "config.json").write_text(json.dumps(CONFIGS["scout"] | {"hidden_act": "gelu"}))
    return "config.json: hidden_act: expected 'silu', got 'gelu'"


def _config_of_words(folder: Path) -> str:
    (folder / "config.json").write_text("{never")
    return "config.json: Expecting property name"


def _two_copies(folder: Path) -> str:
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    return "lm_head.weight: given twice, (61, 24) and (61, 24)"


def _twice_in_a_header(folder: Path) -> str:
    entry = b'"model.norm.weight":{"dtype":"F32","shape":[24],"data_offsets":[0,96]},'
    rewrite_header(folder / "model.safetensors", lambda raw: b"{" + entry + raw[1:])
    return "model.norm.weight: given twice in model.safetensors"


def _shard_without_its_sisters(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "model-00002-of-00002.safetensors")
    return "model-00001-of-00002.safetensors: missing file, other shards are there"


def _index_beside_one_file(folder: Path) -> str:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    return "model.safetensors and model.safetensors.index.json: expected one of them, which is the checkpoint?"


def _index_of_words(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("[]")
    return "model.safetensors.index.json: expected JSON with a weight_map from tensors to files (TypeError"


def _index_elsewhere(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    names = sorted(stored(folder))
    placed = dict.fromkeys(names, "a.safetensors") | {"phantom": "a.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return "phantom: the index places it in a.safetensors, which does not hold it"


def _empty_file(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes(b"")
    return "model.safetensors: truncated, or no safetensors file: 0 bytes, its header 0"


def _cut_header(folder: Path) -> str:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    return "model.safetensors: truncated, or no safetensors file: 100 bytes, its header "


def _header_of_words(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"oops")
    return "model.safetensors: its header is not a JSON object"


def _unknown_dtype(folder: Path) -> str:
    rewrite_header(folder / "model.safetensors", lambda raw: raw.replace(b'"F32"', b'"F4?"', 1))
    return "lm_head.weight: model.safetensors has an entry that cannot be read, {'dtype': 'F4?'"


def _wrong_offsets(folder: Path) -> str:
    rewrite_header(folder / "model.safetensors", lambda raw: raw.replace(b"[61,24]", b"[61,25]", 1))
    return "lm_head.weight: model.safetensors gives 5856 bytes to float32 (61, 25)"


def _longer_than_it_says(folder: Path) -> str:
    with (folder / "model.safetensors").open("ab") as stream:
        stream.write(b"tail")
    return "model.safetensors: too long, expected "


def _integers(folder: Path) -> str:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": np.ones((61, 24), np.int8)}, folder / "model.safetensors")
    return "lm_head.weight: expected floating values, got int8"


BREAKS = [
    value
    for name, value in list(globals().items())
    if name.startswith("_") and getattr(value, "__module__", "") == __name__
]


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__.strip("_"))
def test_each_damage_is_named(damage, hf_folder, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(hf_folder / "single f32", folder)
    expected = damage(folder)
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_pretrained(folder)
    assert any(problem.startswith(expected) for problem in caught.value.problems), caught.value.problems


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: expected a folder with config.json and \*.safetensors"):
        Llama4ForCausalLM.from_pretrained(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def tiny() -> Llama4ForCausalLM:
    return drawn(Llama4ForCausalLM, "maverick")


def test_an_old_checkpoint_is_replaced_whole_and_other_files_stay(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "a", **SHARDED)
    (tmp_path / "a" / "tokenizer.json").write_text("kept")
    tiny.save_pretrained(tmp_path / "a")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    tiny.save_pretrained(tmp_path / "a", **SHARDED)
    assert not (tmp_path / "a" / "model.safetensors").exists()
    assert_same_bits(to_state_dict(Llama4ForCausalLM.from_pretrained(tmp_path / "a")), to_state_dict(tiny))
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_write_that_fails_leaves_the_old_checkpoint(tiny, tmp_path, monkeypatch):
    tiny.save_pretrained(tmp_path / "a")
    before = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    flushed = []

    def full(handle):
        flushed.append(handle)
        if len(flushed) == 3:
            raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for target in ("a", "new"):
        flushed.clear()
        with pytest.raises(OSError, match="no space left"):
            tiny.save_pretrained(tmp_path / target, **SHARDED)
    assert {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_an_interruption_between_the_renames_leaves_nothing_that_loads(tiny, tmp_path, monkeypatch):
    tiny.save_pretrained(tmp_path / "a", **SHARDED)
    rename, renamed = Path.rename, []

    def interrupted(self, target):
        if len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny.save_pretrained(tmp_path / "a", **SHARDED)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"config\.json: missing file"):
        Llama4ForCausalLM.from_pretrained(tmp_path / "a")


def test_progress_is_called_after_each_tensor_and_drawn_on_a_terminal_only(tiny, tmp_path, monkeypatch, capsys):
    seen = []
    tiny.save_pretrained(tmp_path / "a", progress=seen.append)
    count, nbytes = len(to_state_dict(tiny)), sum(value.nbytes for value in to_state_dict(tiny).values())
    assert [step.tensors for step in seen] == list(range(1, count + 1))
    assert (seen[-1].nbytes, seen[-1].total_bytes, seen[-1].total_tensors) == (nbytes, nbytes, count)
    seen.clear()
    Llama4ForCausalLM.from_pretrained(tmp_path / "a", progress=seen.append)
    assert [step.tensors for step in seen] == list(range(1, count + 1))
    assert {step.name for step in seen} == set(to_state_dict(tiny))

    Llama4ForCausalLM.from_pretrained(tmp_path / "a")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Llama4ForCausalLM.from_pretrained(tmp_path / "a")
    drawn = capsys.readouterr().err
    assert drawn.startswith("\r") and drawn.count("\n") == 1
    assert f"loading {count}/{count} tensors, 0.00 of 0.00 GB" in drawn


def test_loading_onto_a_mesh_places_every_parameter(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "a")
    mesh = make_mesh((1,), ("tensor",))
    model = Llama4ForCausalLM.from_pretrained(tmp_path / "a", mesh=mesh, rules="tensor")
    assert all(leaf.sharding.mesh == mesh for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert_same_bits(to_state_dict(model), to_state_dict(tiny))


def test_a_loaded_model_does_not_depend_on_its_files_any_more(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "a")
    model = Llama4ForCausalLM.from_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "model.safetensors"
    file.write_bytes(b"\0" * file.stat().st_size)
    assert_same_bits(to_state_dict(model), to_state_dict(tiny))


def test_headers_are_padded_so_that_data_can_be_mapped_aligned(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "a")
    length = int.from_bytes((tmp_path / "a" / "model.safetensors").read_bytes()[:8], "little")
    assert (8 + length) % 64 == 0
    problems: list[str] = []
    assert len(tensor_files.read_header(tmp_path / "a" / "model.safetensors", problems)) == len(to_state_dict(tiny))
    assert problems == []
