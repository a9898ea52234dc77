"""Published sizes come out of shapes alone, and host memory beside the model holds tensors, not a second model."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peak_memory import CASES

from jax_llama4 import (
    Llama4Config,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    Llama4TextConfig,
    Llama4VisionConfig,
    Numerics,
)
from jax_llama4.checkpoint import abstract_model, parameters

BFLOAT16 = Numerics.like_hf("bfloat16")
MAVERICK = {"num_local_experts": 128, "interleave_moe_layer_step": 2, "use_qk_norm": False}
# The text halves of Llama-4-Scout-17B-16E and Llama-4-Maverick-17B-128E: parameters, and tensors in HF's files.
PUBLISHED = {"scout": ({}, 107_769_861_120, 48 * 12 + 3), "maverick": (MAVERICK, 400_711_848_960, 24 * (12 + 9) + 3)}


# Unrolled, every layer is traced: once is enough to see that stacked layers are the same ones.
@pytest.mark.parametrize(("name", "scan_layers"), [("scout", True), ("maverick", True), ("maverick", False)])
def test_published_parameter_counts(name, scan_layers):
    options, count, tensors = PUBLISHED[name]
    config = Llama4TextConfig(**options)
    found = parameters(abstract_model(Llama4ForCausalLM, config, BFLOAT16, scan_layers=scan_layers))
    assert sum(math.prod(parameter.shape) for parameter in found.values()) == count
    assert len(found) == tensors


# Of both models; one of 34 layers has q, k, v, o, fc1, fc2 and two norms, each with a bias.
TOWER = Llama4VisionConfig(hidden_size=1408, image_size=336, vision_output_dim=4096)
OF_PARTS = {
    "vision_model.": (850_960_896, 34 * 16 + 9),
    "vision_model.model.layers.33.": (23_807_872, 16),
    "vision_model.vision_adapter.": (39_845_888, 2),
    "vision_model.patch_embedding.": (827_904, 1),
    "multi_modal_projector.": (20_971_520, 1),
}


@pytest.mark.parametrize(("name", "count"), [("scout", 108_641_793_536), ("maverick", 401_583_781_376)])
def test_published_parameter_counts_with_vision(name, count):
    options, text, tensors = PUBLISHED[name]
    config = Llama4Config(text_config=Llama4TextConfig(**options), vision_config=TOWER)
    found = parameters(abstract_model(Llama4ForConditionalGeneration, config, BFLOAT16, scan_layers=True))
    for part, expected in {**OF_PARTS, "language_model.": (text, tensors), "": (count, tensors + 34 * 16 + 10)}.items():
        sizes = [math.prod(parameter.shape) for key, parameter in found.items() if key.startswith(part)]
        assert (sum(sizes), len(sizes)) == expected, part


@pytest.fixture(scope="module")
def peaks(tmp_path_factory) -> dict[str, dict[str, dict[str, int]]]:
    if sys.platform != "linux":
        pytest.skip("the peak of resident memory is read from /proc")
    folder = tmp_path_factory.mktemp("peaks")
    command = [sys.executable, str(Path(__file__).parent / "peak_memory.py"), str(folder)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {found.pop("case"): found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", CASES)
def test_memory_in_passing_is_that_of_two_tensors_however_deep_the_model(case, peaks):
    shallow, deep = peaks[case]["shallow"], peaks[case]["deep"]
    assert deep["model_bytes"] > 20 * deep["largest_bytes"]
    for found in (shallow, deep):
        # As it lies in the file and as it is wanted, or a row of a stack and its copy; half a tensor for JAX itself.
        assert 0 < found["passing_bytes"] < 2.5 * found["largest_bytes"]
