"""Outputs and caches as pytrees, dictionaries and JSON; accessors, constructors and what they refuse."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from impl_cases import CONFIGS

from jax_llama4 import (
    Llama4CausalLMOutputWithPast,
    Llama4ForCausalLM,
    Llama4ForSequenceClassification,
    Llama4TextAttention,
    Llama4TextConfig,
    Llama4TextDecoderLayer,
    Llama4TextL2Norm,
    Llama4TextMLP,
    Llama4TextModel,
    Llama4TextRMSNorm,
    MaskInfo,
    MoeModelOutputWithPast,
    Numerics,
    TransformerCache,
)

CONFIG = Llama4TextConfig.from_dict(CONFIGS["maverick"])


def output(dtype: str = "bfloat16") -> Llama4CausalLMOutputWithPast:
    cache = TransformerCache.init_cache(CONFIG, 2, 5, starts=jnp.array([0, 3]), dtype=jnp.dtype(dtype))
    hard = jnp.array([[0.1, float("nan"), -0.0, float("-inf")]], dtype=dtype)
    return Llama4CausalLMOutputWithPast(logits=hard, past_key_values=cache, hidden_states=(hard, hard * 2))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_json_gives_back_every_bit(dtype):
    written = output(dtype).to_json(indent=1)
    again = Llama4CausalLMOutputWithPast.from_json(written)
    assert jax.tree.structure(again) == jax.tree.structure(output(dtype))
    for left, right in zip(jax.tree.leaves(again), jax.tree.leaves(output(dtype)), strict=True):
        assert left.dtype == right.dtype and np.asarray(left).tobytes() == np.asarray(right).tobytes()
    json.loads(written, parse_constant=pytest.fail)  # NaN and infinities are no JSON


def test_json_of_another_class_is_refused():
    with pytest.raises(ValueError, match="expected the JSON of a MoeModelOutputWithPast, got that of a Llama4CausalLM"):
        MoeModelOutputWithPast.from_json(output().to_json())
    with pytest.raises(TypeError, match="got object"):
        MoeModelOutputWithPast(last_hidden_state=object()).to_json()  # type: ignore[arg-type]


def test_a_dictionary_holds_what_is_there():
    out = output()
    assert set(out.to_dict()) == {"logits", "past_key_values", "hidden_states"}
    again = Llama4CausalLMOutputWithPast.from_dict(out.to_dict())
    assert again.replace(logits=None).logits is None and again.past_key_values is out.past_key_values
    with pytest.raises(TypeError, match="nothing"):
        Llama4CausalLMOutputWithPast.from_dict({"nothing": 1})


@pytest.fixture(scope="module")
def models() -> dict[str, nnx.Module]:
    classes = (Llama4TextModel, Llama4ForCausalLM, Llama4ForSequenceClassification)
    return {cls.__name__: nnx.eval_shape(lambda cls=cls: cls(CONFIG, rngs=nnx.Rngs(0))) for cls in classes}


def test_parts_are_found_where_they_make_sense(models):
    text, causal, classifier = models.values()
    assert text.get_decoder() is text and text.get_embedding() is text.embed_tokens
    for model in (causal, classifier):
        assert model.get_decoder() is model.model and model.get_embedding() is model.model.embed_tokens
    assert causal.get_lm_head() is causal.lm_head


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("Llama4TextModel", "encoder", "Llama4TextModel is decoder-only: it has no encoder"),
        ("Llama4TextModel", "lm_head", "Llama4TextModel has no head: Llama4ForCausalLM has one"),
        ("Llama4ForCausalLM", "encoder", "Llama4ForCausalLM is decoder-only: it has no encoder"),
        (
            "Llama4ForSequenceClassification",
            "lm_head",
            "Llama4ForSequenceClassification scores sequences: it has no language-modelling head",
        ),
    ],
)
def test_parts_are_refused_where_they_do_not(models, name, part, message):
    with pytest.raises(NotImplementedError) as caught:
        getattr(models[name], f"get_{part}")()
    assert str(caught.value) == message


CONSTRUCTORS = [
    lambda *args, **named: Llama4TextModel(CONFIG, *args, **named).norm.numerics,
    lambda *args, **named: Llama4ForCausalLM(CONFIG, *args, **named).numerics,
    lambda *args, **named: Llama4ForSequenceClassification(CONFIG, *args, **named).numerics,
    lambda *args, **named: Llama4TextDecoderLayer(CONFIG, 1, *args, **named).self_attn.numerics,
    lambda *args, **named: Llama4TextAttention(CONFIG, 1, *args, **named).numerics,
    lambda *args, **named: Llama4TextMLP(CONFIG, None, *args, **named).activation_fn.numerics,
]


@pytest.mark.parametrize("construct", CONSTRUCTORS)
def test_constructors_take_dtypes_or_numerics(construct):
    found = []

    def build(*args, **named):
        found.append(construct(*args, rngs=nnx.Rngs(0), **named))
        return nnx.Rngs(0)

    for args, named in [
        ((), {}),
        (("bfloat16", "float32", jax.lax.Precision.DEFAULT), {}),
        ((), {"numerics": Numerics.uniform("float64")}),
    ]:
        nnx.eval_shape(lambda args=args, named=named: build(*args, **named))
    assert [(numerics.compute.name, numerics.param.name, numerics.precision) for numerics in found] == [
        ("float32", "float32", jax.lax.Precision.HIGHEST),
        ("bfloat16", "float32", jax.lax.Precision.DEFAULT),
        ("float64", "float64", jax.lax.Precision.HIGHEST),
    ]
    with pytest.raises(ValueError, match="numerics already says dtype: give one or the other"):
        construct("bfloat16", rngs=nnx.Rngs(0), numerics=Numerics.uniform("float64"))


def test_norms_take_a_dtype_and_the_l2_norm_has_no_weight():
    assert Llama4TextRMSNorm(4, 1e-5, "bfloat16").weight[...].dtype == jnp.bfloat16
    norm = Llama4TextL2Norm(1e-5, "bfloat16")
    assert nnx.state(norm) == nnx.State({}) and norm(jnp.ones((1, 1, 1, 4))).dtype == jnp.bfloat16
    np.testing.assert_array_equal(Llama4TextL2Norm.kernel_init(jax.random.key(0), (2,)), jnp.ones(2))


def test_parameters_may_be_wider_than_the_computation():
    model = Llama4ForCausalLM(CONFIG, "bfloat16", "float32", rngs=nnx.Rngs(0))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {"float32"}
    ids = jnp.ones((1, 3), int)
    assert model(ids).logits.dtype == jnp.bfloat16
    assert model.init_cache(1, 4).views[0].key.dtype == jnp.bfloat16


@pytest.fixture(scope="module")
def tiny() -> Llama4ForCausalLM:
    return Llama4ForCausalLM(CONFIG, "float64", rngs=nnx.Rngs(0))


IDS = jnp.arange(1, 12)[None]


def test_the_last_logits_alone_and_none_at_all(tiny):
    whole = tiny(IDS, output_hidden_states=True)
    np.testing.assert_array_equal(tiny(IDS, logits_to_keep=2).logits, whole.logits[:, -2:])
    bare = tiny(IDS, apply_lm_head=False, output_hidden_states=True)
    assert bare.logits is None
    np.testing.assert_array_equal(tiny.lm_head(bare.hidden_states[-1]), whole.logits)
    for arguments in ({"apply_lm_head": False}, {"logits_to_keep": 1}):
        with pytest.raises(ValueError, match="labels: the loss needs the logits of every position"):
            tiny(IDS, labels=IDS, **arguments)


def test_mask_info_says_what_a_mask_says(tiny):
    mask = jnp.ones(IDS.shape, int).at[0, :2].set(0)
    expected = tiny(IDS, mask).logits
    np.testing.assert_array_equal(tiny(IDS, mask_info=MaskInfo(attention_mask=mask.astype(bool))).logits, expected)
    masks = tiny.model.masks(mask.astype(bool), jnp.arange(IDS.shape[1]))
    np.testing.assert_array_equal(tiny(IDS, mask_info=MaskInfo(masks=masks)).logits, expected)
    with pytest.raises(ValueError, match="attention_mask: given twice, also in mask_info"):
        tiny(IDS, mask, mask_info=MaskInfo(attention_mask=mask.astype(bool)))


def test_several_rows_without_a_pad_token_cannot_be_scored():
    config = Llama4TextConfig.from_dict(CONFIGS["maverick"] | {"pad_token_id": None})
    with pytest.raises(
        ValueError, match=r"config\.pad_token_id: None, but without one only one row can be scored, got 2"
    ):
        nnx.eval_shape(lambda: Llama4ForSequenceClassification(config, rngs=nnx.Rngs(0))(jnp.ones((2, 3), int)))
