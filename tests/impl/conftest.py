"""Settings of the jax_llama4 tests: float64 on, no implicit promotion, typed boundaries checked, HF run in a child."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

HERE = Path(__file__).parent

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # the programs are tiny: nearly all the time is compiling
sys.path.insert(0, str(HERE))  # for impl_cases, which the child process reads as well

# Not text, whose own messages for wrong shapes are under test, nor outputs, which JAX also builds from non-arrays.
_TYPED = ("attention", "decoder", "dispatch", "masks", "mlp", "moe", "norms", "rope", "sampling", "taps")
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


@pytest.fixture(scope="session")
def hf_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HfRun]:
    folder = tmp_path_factory.mktemp("hf")
    script = HERE / "hf_reference.py"
    done = subprocess.run([sys.executable, str(script), str(folder)], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = {}
    for facts_file in sorted(folder.glob("*.json")):
        facts = json.loads(facts_file.read_text())
        with np.load(facts_file.with_suffix(".npz")) as arrays:
            parts: dict[str, dict[str, np.ndarray]] = {"weights": {}, "outputs": {}}
            for name in arrays.files:
                part, _, key = name.partition("/")
                parts.setdefault(part, {})[key] = arrays[name]
        runs[facts_file.stem] = HfRun(
            parts["weights"], parts["outputs"], parts["inv_freq_float32"][""], facts["modules"], facts["config"]
        )
    return runs


@pytest.fixture(scope="session")
def hf_generation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Processed logits, greedy tokens and the weights behind them, by the names `hf_generation.py` gives."""
    folder = tmp_path_factory.mktemp("hf_generation")
    script = HERE / "hf_generation.py"
    done = subprocess.run([sys.executable, str(script), str(folder)], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "generation.npz") as arrays:
        return dict(arrays)
