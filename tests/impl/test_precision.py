"""Numerics: HF's islands, true float64, and no silent narrowing."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jax_llama4 import ROLES, Numerics


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_like_hf_keeps_islands_in_float32(dtype):
    numerics = Numerics.like_hf(dtype)
    own = {role for role in ROLES if getattr(numerics, role) == jnp.dtype(dtype)}
    wide = {role for role in ROLES if getattr(numerics, role) == jnp.dtype("float32")}
    assert own >= {"param", "compute"} and wide >= set(ROLES) - {"param", "compute"}


def test_float64_has_no_islands():
    assert Numerics.like_hf("float64") == Numerics.uniform("float64")


def test_equal_values_are_one_key_however_the_dtype_is_named():
    assert len({Numerics.like_hf("bfloat16"), Numerics.like_hf(jnp.bfloat16)}) == 1


def test_products_are_as_exact_as_the_dtype_unless_told_otherwise():
    assert Numerics.like_hf("float32").precision is jax.lax.Precision.HIGHEST
    assert Numerics.like_hf("float32", precision=None).precision is None


def test_a_role_must_be_floating():
    with pytest.raises(ValueError, match=r"Numerics\.param: expected a floating dtype, got int32"):
        Numerics.uniform("int32")


def test_float64_without_x64_is_refused_not_narrowed():
    program = (
        "import jax\n"
        "from flax import nnx\n"
        "from jax_llama4 import Llama4ForCausalLM, Llama4TextConfig, Numerics\n"
        "config = Llama4TextConfig(num_hidden_layers=1)\n"
        "build = lambda: Llama4ForCausalLM(config, numerics=Numerics.like_hf('float64'), rngs=nnx.Rngs(0))\n"
        "nnx.eval_shape(build)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ValueError: JAX would narrow param=float64, compute=float64" in done.stderr
    assert "set jax_enable_x64" in done.stderr
