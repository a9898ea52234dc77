"""Published sizes come out of shapes alone, and host memory beside the model holds tensors, not a second model."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peak_memory import CASES

from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics
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
