"""Settings of the jax_llama4 tests: float64 on, no implicit promotion, typed boundaries checked, HF run in a child."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jaxlib.xla_client import CompileOptions
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent))  # for impl_cases, which the child process reads as well
from impl_cases import under

HERE = Path(__file__).parent

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # the programs are tiny: nearly all the time is compiling

# The emitters start an MLIR context for each fusion, and pay only where LLVM optimises. XLA reads its flags once in a
# process, when it is first asked for options: here, so that this process has them and no child that a test starts.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip())
    CompileOptions()

# Not text, vision and multimodal, whose own messages for wrong shapes are under test, nor outputs, which JAX also
# builds from non-arrays.
_TYPED = "attention decoder dispatch masks mlp moe norms rope sampling taps vision_encoder".split()
install_import_hook([f"jax_llama4.{name}" for name in _TYPED], "beartype.beartype")


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


class HfRun(NamedTuple):
    """What HF computed in true float64 for one case."""

    weights: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    inv_freq_float32: np.ndarray  # as HF makes it without the lift
    modules: list[str]
    config: dict[str, Any]


class HfChild(NamedTuple):
    """What one child process computed: the folder it wrote to, and the arrays of each NAME.npz in it by name."""

    folder: Path
    arrays: dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def run_hf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HfChild]:
    """Runs a script of this folder with a new folder as its argument; torch and JAX never share a process."""

    def run(script: str) -> HfChild:
        folder = tmp_path_factory.mktemp(Path(script).stem)
        command = [sys.executable, str(HERE / script), str(folder)]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = {}
        for file in sorted(folder.glob("*.npz")):
            with np.load(file) as arrays:
                found[file.stem] = dict(arrays)
        return HfChild(folder, found)

    return run


@pytest.fixture(scope="session")
def hf_runs(run_hf: Callable[[str], HfChild]) -> dict[str, HfRun]:
    runs = {}
    folder, found = run_hf("hf_reference.py")
    for name, arrays in found.items():
        facts = json.loads((folder / f"{name}.json").read_text())
        runs[name] = HfRun(
            under("weights/", arrays),
            under("outputs/", arrays),
            arrays["inv_freq_float32"],
            facts["modules"],
            facts["config"],
        )
    return runs


@pytest.fixture(scope="session")
def hf_generation(run_hf: Callable[[str], HfChild]) -> dict[str, np.ndarray]:
    """Processed logits, greedy tokens and the weights behind them, by the names `hf_generation.py` gives."""
    return run_hf("hf_generation.py").arrays["generation"]


@pytest.fixture(scope="session")
def hf_multimodal(run_hf: Callable[[str], HfChild]) -> dict[str, dict[str, np.ndarray]]:
    """By case: weights, outputs and the tower's inner values, by the names `hf_multimodal.py` gives; and `odds`."""
    return run_hf("hf_multimodal.py").arrays
