"""Every way a checkpoint folder can be wrong, by the text of the error."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from impl_cases import CONFIGS
from pretrained_cases import drawn, stored
from safetensors.numpy import load_file, save_file

from jax_llama4 import CheckpointError, Llama4ForCausalLM


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file, and one with shards."""
    folder = tmp_path_factory.mktemp("whole")
    model = drawn(Llama4ForCausalLM, CONFIGS["scout"], "float32")
    model.save_pretrained(folder / "single")
    model.save_pretrained(folder / "shards", max_shard_bytes=8000)
    return folder


def test_everything_wrong_with_a_folder_is_said_at_once(whole, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(whole / "shards", folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    placed = index["weight_map"]
    lost, cut, odd = placed["model.norm.weight"], placed["lm_head.weight"], placed["model.embed_tokens.weight"]
    assert len({lost, cut, odd}) == 3
    (folder / lost).unlink()
    content = (folder / cut).read_bytes()
    (folder / cut).write_bytes(content[:-5])
    tensors = load_file(folder / odd)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].T.copy()
    save_file(tensors | {"extra": np.ones(1, np.float32)}, folder / odd)
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_pretrained(folder)
    gone = [name for name, file in placed.items() if file == lost]
    problems = set(caught.value.problems)
    assert {
        f"{lost}: missing file, the index places {len(gone)} tensors in it, such as {gone[0]}",
        f"{cut}: truncated, expected {len(content)} bytes, got {len(content) - 5}",
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
def test_each_damage_is_named(damage, whole, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(whole / "single", folder)
    expected = damage(folder)
    with pytest.raises(CheckpointError) as caught:
        Llama4ForCausalLM.from_pretrained(folder)
    assert any(problem.startswith(expected) for problem in caught.value.problems), caught.value.problems


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: expected a folder with config.json and \*.safetensors"):
        Llama4ForCausalLM.from_pretrained(tmp_path / "nowhere")
