"""The multimodal model in float64 against HF with its float32 islands lifted: images of several tiles, padded rows."""

import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from compiling import QUICK
from drifts import over, rel_l2
from flax import nnx
from impl_cases import pieces, under
from multimodal_candidate import arguments, build, drifts_by_row

from jax_llama4 import Llama4ForConditionalGeneration, Llama4ImageMerge, Tap, to_state_dict
from jax_llama4.masks import Llama4TextMasks

from limits import limit


@pytest.fixture(scope="module", params=cases.CONFIGS)
def case(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def expected(case, hf_multimodal) -> dict[str, np.ndarray]:
    return hf_multimodal[case]


@pytest.fixture(scope="module")
def model(case, hf_multimodal) -> Llama4ForConditionalGeneration:
    return build(case, hf_multimodal)


@pytest.fixture(scope="module")
def allowed(model) -> float:
    config = model.config
    return limit("model", "f64", config.text_config.num_hidden_layers + config.vision_config.num_hidden_layers)


@nnx.jit
def everything(model, inputs, labels):
    return model(**inputs, labels=labels, output_attentions=True, output_hidden_states=True, output_router_logits=True)


@nnx.jit
def call(model, inputs, cache=None):
    out = model(**inputs, past_key_values=cache)
    return out.logits, out.past_key_values


def test_every_row_layer_and_the_loss_agree(case, model, expected, allowed):
    prompt = cases.PROMPTS[case]
    found = everything(model, arguments(prompt), jnp.asarray(prompt.labels))
    real = prompt.attention_mask.astype(bool)
    drifts = drifts_by_row(prompt, found.logits, expected["logits"])
    drifts |= {name: rel_l2(getattr(found, name), expected[name]) for name in ("loss", "image_hidden_states")}
    for name in ("hidden_states", "router_logits"):
        pairs = enumerate(getattr(found, name))
        drifts |= {f"{name}[{i}]": rel_l2(value, expected[f"{name}.{i}"]) for i, value in pairs}
    for i, weights in enumerate(found.attentions):
        # By query; what padding looks at means nothing.
        mine, hfs = (np.moveaxis(np.asarray(each), 1, 2)[real] for each in (weights, expected[f"attentions.{i}"]))
        drifts[f"attentions[{i}]"] = rel_l2(mine, hfs)
    assert over(drifts, allowed) == {}
    text = model.config.text_config
    assert len(found.attentions) == len(found.hidden_states) - 1 == text.num_hidden_layers
    assert len(found.router_logits) == len(text.moe_layers)


def test_image_tokens_without_images_are_embedded_like_any_other(case, model, expected, allowed):
    prompt = cases.PROMPTS[case]
    found, _ = call(model, arguments(prompt, without="pixel_values"))
    assert over(drifts_by_row(prompt, found, expected["raw"]), allowed) == {}
    apart = drifts_by_row(prompt, found, expected["logits"])
    assert apart.pop("text only") <= allowed < min(apart.values())


def test_the_places_of_images_are_found_among_embeddings(case, model, expected, allowed):
    prompt = cases.PROMPTS[case]
    inputs = arguments(prompt, without="pixel_values input_ids")
    inputs["inputs_embeds"] = model.get_embedding()(jnp.asarray(prompt.input_ids))
    inputs["image_features"] = jnp.asarray(expected["image_hidden_states"])
    found, _ = call(model, inputs)
    assert over(drifts_by_row(prompt, found, expected["from_embeds"]), allowed) == {}


@pytest.mark.parametrize("split", cases.SPLITS)
def test_pieces_through_the_cache_agree_with_hfs(case, model, split, expected, allowed):
    prompt = cases.PROMPTS[case]
    cache, logits = model.init_cache(len(prompt.rows), 30), []
    for slots in pieces(cases.SPLITS[split]):
        found, cache = call(model, arguments(prompt, slots), cache)
        logits.append(np.asarray(found))
    found = np.concatenate(logits, axis=1)
    for other in (f"cached/{split}", "logits"):
        assert over(drifts_by_row(prompt, found, expected[other]), allowed) == {}, other


def test_the_module_tree_is_hfs_plus_taps_masks_and_the_merge(model, expected):
    own = {
        ".".join(map(str, path))
        for path, module in nnx.iter_modules(model)
        if not isinstance(module, Tap | Llama4TextMasks | Llama4ImageMerge)
    }
    assert own == {*expected["modules"]} - {"vision_model.patch_embedding.unfold"}


@pytest.mark.parametrize(
    "options",
    [{}, {"scan_layers": True, "remat_policy": "nothing_saveable"}],
    ids=["plain", "scanned and recomputed"],
)
def test_the_gradients_of_every_weight_agree(options, hf_multimodal):
    case = cases.TRAINED
    model, prompt = build(case, hf_multimodal, **options), cases.PROMPTS[case]
    inputs = arguments(prompt) | {"labels": jnp.asarray(prompt.labels)}
    graph, weights, rest = nnx.split(model, nnx.Param, ...)
    loss = jax.grad(lambda weights: nnx.merge(graph, weights, rest)(**inputs).loss)
    program = jax.jit(loss, compiler_options=QUICK)
    found = to_state_dict(nnx.merge(graph, program(weights), rest))
    expected = under("gradients/", hf_multimodal[case])
    assert found.keys() == expected.keys()
    layers = model.config.text_config.num_hidden_layers + model.config.vision_config.num_hidden_layers
    drifts = {name: rel_l2(value, expected[name]) for name, value in found.items()}
    assert over(drifts, limit("model", "f64", layers)) == {}
