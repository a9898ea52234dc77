"""Numerics: HF's islands, true float64, and no silent narrowing."""

import dataclasses
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS

from jax_llama4 import ROLES, Llama4ForCausalLM, Llama4TextConfig, Numerics

IDS = jnp.arange(1, 10, dtype=jnp.int32)[None]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_like_hf_keeps_islands_in_float32(dtype):
    numerics = Numerics.like_hf(dtype)
    own = {role for role in ROLES if getattr(numerics, role) == jnp.dtype(dtype)}
    wide = {role for role in ROLES if getattr(numerics, role) == jnp.dtype("float32")}
    of_model = {"param", "compute", "residual", "scores", "router_logits", "logits"}
    assert own >= of_model and wide >= set(ROLES) - of_model


SHOWN = ("residual", "scores", "router_logits", "logits")


def shown(numerics: Numerics, case: str = "maverick") -> tuple[dict[str, set[str]], str]:
    """The dtypes in which a model gives what has a role of its own, and its program."""
    config = Llama4TextConfig.from_dict(CONFIGS[case])
    model = nnx.eval_shape(lambda: Llama4ForCausalLM(config, numerics=numerics, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(model)

    def run(state, ids):
        return nnx.merge(graphdef, state)(ids, output_hidden_states=True, output_router_logits=True)

    out = jax.eval_shape(run, state, IDS)
    *entering, normed = out.hidden_states
    assert normed.dtype == numerics.compute, "a norm reads the stream and gives what products take"
    program = str(jax.make_jaxpr(run)(state, IDS))
    # The scores are what the mask is laid over: (B, N, T, S), of a dtype that nothing else here has.
    found = re.findall(r":(\w+)\[1,4,9,9\] = select_n", program)
    return {
        "residual": {each.dtype.name for each in entering},
        "scores": {{"bf16": "bfloat16", "f32": "float32", "f16": "float16"}[name] for name in found},
        "router_logits": {each.dtype.name for each in out.router_logits},
        "logits": {out.logits.dtype.name},
    }, program


@pytest.mark.parametrize("case", ["maverick", "unusual"])
@pytest.mark.parametrize("role", SHOWN)
@pytest.mark.parametrize(("model", "other"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_role_is_kept_in_its_dtype_and_no_other_is(role, model, other, case):
    numerics = dataclasses.replace(Numerics.like_hf(model), **{role: other})
    assert shown(numerics, case)[0] == {name: {other if name == role else model} for name in SHOWN}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_product_is_asked_for_as_it_is_summed(dtype):
    program = shown(Numerics.like_hf(dtype))[1]
    results = set(re.findall(r":(\w+)\[[\d,]+\] = dot_general", program))
    assert results == {"f32"}


def test_wide_logits_are_the_narrow_ones_before_they_are_rounded():
    narrow = Numerics.like_hf("bfloat16")
    config = Llama4TextConfig.from_dict(CONFIGS["maverick"] | {"num_hidden_layers": 1, "moe_layers": []})

    def logits(numerics):
        return Llama4ForCausalLM(config, numerics=numerics, rngs=nnx.Rngs(0))(IDS).logits

    wide = logits(dataclasses.replace(narrow, logits=jnp.dtype("float32")))
    rounded = wide.astype(jnp.bfloat16)
    np.testing.assert_array_equal(rounded.astype(jnp.float32), logits(narrow).astype(jnp.float32))
    assert (rounded.astype(jnp.float32) != wide).any()


def test_a_stack_that_is_scanned_keeps_its_stream_too():
    numerics = dataclasses.replace(Numerics.like_hf("bfloat16"), residual=jnp.dtype("float32"))
    config = Llama4TextConfig.from_dict(CONFIGS["maverick"])
    model = nnx.eval_shape(lambda: Llama4ForCausalLM(config, numerics=numerics, rngs=nnx.Rngs(0), scan_layers=True))
    graphdef, state = nnx.split(model)
    out = jax.eval_shape(lambda state: nnx.merge(graphdef, state)(IDS, output_hidden_states=True), state)
    assert {each.dtype.name for each in out.hidden_states[:-1]} == {"float32"}


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
