"""Names, arguments and attributes of EasyDeL's `modeling_llama4` page, each of which is here."""

import inspect

import jax.numpy as jnp
import pytest
from flax import nnx

import jax_llama4
from jax_llama4 import Llama4ForConditionalGeneration, Llama4TextL2Norm, Numerics

CLASSES = """
    Llama4CausalLMOutputWithPast Llama4ForCausalLM Llama4ForConditionalGeneration Llama4ForSequenceClassification
    Llama4MultiModalProjector Llama4TextAttention Llama4TextDecoderLayer Llama4TextExperts Llama4TextL2Norm
    Llama4TextMLP Llama4TextModel Llama4TextMoe Llama4UnfoldConvolution Llama4VisionAttention Llama4VisionEncoder
    Llama4VisionEncoderLayer Llama4VisionMLP Llama4VisionMLP2 Llama4VisionModel Llama4VisionPixelShuffleMLP
""".split()
# Arguments in the page's order; ours may go on after them.
ARGUMENTS = {
    "bmm": "inputs kernel precision",
    "pixel_shuffle": "input_tensor shuffle_ratio",
    "Llama4CausalLMOutputWithPast": "loss logits past_key_values hidden_states attentions image_hidden_states",
    "Llama4TextAttention.__call__": (
        "self hidden_states mask_info position_ids mode cache_view cache_metadata output_attentions frequencies alibi"
    ),
    "Llama4ForConditionalGeneration.get_image_features": "self pixel_values",
    "Llama4ForConditionalGeneration.init_cache": "self batch_size max_length starts shardings pad_token_id",
    "Llama4ForConditionalGeneration.prepare_inputs_for_generation": (
        "self input_ids max_length pad_token_id starts pixel_values attention_mask"
    ),
    "Llama4ForConditionalGeneration.update_inputs_for_generation": "self model_outputs model_kwargs",
    "Llama4CausalLMOutputWithPast.from_dict": "data",
    "Llama4CausalLMOutputWithPast.to_dict": "self",
    "Llama4CausalLMOutputWithPast.from_json": "json_str",
    "Llama4CausalLMOutputWithPast.to_json": "self kwargs",
    "Llama4CausalLMOutputWithPast.replace": "self",
    "Llama4VisionModel.get_decoder": "self",
    "Llama4TextL2Norm.kernel_init": "key shape dtype out_sharding",
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_public(name):
    assert name in jax_llama4.__all__
    assert inspect.isclass(getattr(jax_llama4, name))


@pytest.mark.parametrize("path", ARGUMENTS)
def test_every_function_takes_the_arguments_of_the_page(path):
    found = jax_llama4
    for part in path.split("."):
        found = getattr(found, part)
    given = ARGUMENTS[path].split()
    assert list(inspect.signature(found).parameters)[: len(given)] == given


def test_every_attribute_of_the_multimodal_class_is_there():
    cls = Llama4ForConditionalGeneration
    assert (cls.loss_type, cls._task_type, cls._model_type) == ("ForCausalLM", "image-text-to-text", "llama4")
    assert (cls._supports_video, cls._uses_mrope) == (True, False)


def test_a_model_says_its_dtypes_and_precision():
    class Model(jax_llama4.pretrained.Pretrained):
        numerics = Numerics.like_hf("bfloat16", precision="highest")

    model = Model()
    assert (model.dtype, model.param_dtype, model.precision) == (jnp.bfloat16, jnp.bfloat16, "highest")


def test_the_initializer_of_the_weightless_norm_gives_ones():
    assert (Llama4TextL2Norm.kernel_init(nnx.Rngs(0).params(), (3, 2), jnp.float32) == 1).all()
