"""save_pretrained: all or nothing, its progress, its layout; and what loading keeps of the files."""

import os
import sys
from pathlib import Path

import jax
import pytest
from flax import nnx
from impl_cases import CONFIGS
from pretrained_cases import SHARDED, assert_same_bits, drawn

from jax_llama4 import CheckpointError, Llama4ForCausalLM, make_mesh, tensor_files, to_state_dict


@pytest.fixture(scope="module")
def tiny() -> Llama4ForCausalLM:
    return drawn(Llama4ForCausalLM, CONFIGS["maverick"])


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
    line = capsys.readouterr().err
    assert line.startswith("\r") and line.count("\n") == 1
    assert f"loading {count}/{count} tensors, 0.00 of 0.00 GB" in line


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
