"""Child process: run HF's multimodal Llama 4 in true float64 on `multimodal_cases`; writes NAME.npz for each case.

Usage: python hf_multimodal.py FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import hf_reference
import multimodal_cases as cases
import numpy as np
import torch
from hf_reference import filled, lift_islands, run_cached, tensors
from transformers import Llama4Config
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llama4.modeling_llama4 import Llama4ForConditionalGeneration, Llama4VisionModel, pixel_shuffle

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


def build(config: dict[str, Any], dtype: torch.dtype) -> Llama4ForConditionalGeneration:
    return filled(
        Llama4ForConditionalGeneration._from_config(Llama4Config(**config), attn_implementation="eager", dtype=dtype)
    )


def run(model: Llama4ForConditionalGeneration, prompt: cases.ImagePrompt) -> dict[str, np.ndarray]:
    found = hf_reference.run(model, prompt)
    arguments = tensors(prompt)
    del arguments["pixel_values"]
    found["raw"] = model(**arguments, use_cache=False).logits.numpy()
    del arguments["input_ids"]
    features = BaseModelOutputWithPooling(last_hidden_state=torch.from_numpy(found["image_hidden_states"]))
    embeds = model.get_input_embeddings()(torch.from_numpy(prompt.input_ids))
    arguments |= {"inputs_embeds": embeds, "mm_encoder_outputs": {"image": features}}
    found["from_embeds"] = model(**arguments, use_cache=False).logits.numpy()
    return found


def gradients(model: Llama4ForConditionalGeneration, prompt: cases.ImagePrompt) -> dict[str, np.ndarray]:
    """Of the loss, by every weight."""
    with torch.enable_grad():
        model(**tensors(prompt), labels=torch.from_numpy(prompt.labels), use_cache=False).loss.backward()
    return {name: weight.grad.numpy() for name, weight in model.named_parameters()}


def generated(model: Llama4ForConditionalGeneration, name: str) -> np.ndarray:
    """The new tokens of each row."""
    prompt = cases.CONTINUED[name]
    arguments = tensors(prompt)
    del arguments["position_ids"]
    arguments["pixel_values"] = arguments["pixel_values"].to(model.dtype)
    model.generation_config.eos_token_id = None
    out = model.generate(**arguments, max_new_tokens=cases.NEW_TOKENS, do_sample=False, pad_token_id=cases.PAD)
    return out[:, prompt.input_ids.shape[1] :].numpy()


def run_tower(model: Llama4VisionModel, pixel_values: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the tower, and of each of its modules the first argument and the result."""
    found: dict[str, np.ndarray] = {}

    def keep(path: str) -> Any:
        def hook(module: torch.nn.Module, given: tuple, named: dict, result: Any) -> None:
            first = given[0] if given else next(iter(named.values()))
            found[f"in/{path}"] = first.numpy()
            if isinstance(result, tuple):
                found[f"weights/{path}"] = result[1].numpy()
                result = result[0]
            if isinstance(result, torch.Tensor):
                found[f"out/{path}"] = result.numpy()

        return hook

    hooks = [
        module.register_forward_hook(keep(path), with_kwargs=True)
        for path, module in model.named_modules()
        if path not in ("", "model", "rotary_embedding")
    ]
    out = model(torch.from_numpy(pixel_values), output_attentions=True, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    found |= {"last_hidden_state": out.last_hidden_state.numpy(), "table": table(model)}
    found |= {f"hidden_states.{i}": value.numpy() for i, value in enumerate(out.hidden_states)}
    found |= {f"attentions.{i}": value.numpy() for i, value in enumerate(out.attentions)}
    return found


def table(model: Llama4VisionModel) -> np.ndarray:
    return torch.view_as_real(model.rotary_embedding.freqs_ci)[:, 0].numpy()


@torch.no_grad()
def main(folder: Path) -> None:
    torch.set_num_threads(1)  # the tensors are tiny
    grid = {name: torch.from_numpy(cases.GELU_INPUTS).to(dtype) for name, dtype in DTYPES.items()}
    odds = {f"gelu/{name}": torch.nn.functional.gelu(values).float().numpy() for name, values in grid.items()}
    odds |= {
        f"shuffled/{name}": pixel_shuffle(torch.from_numpy(values), ratio).numpy()
        for name, (values, ratio) in cases.SHUFFLES.items()
    }
    np.savez(folder / "odds.npz", **odds)
    tables = {
        name: table(build(config, torch.float32).vision_model).astype("float32")
        for name, config in cases.CONFIGS.items()
    }
    greedy = {name: generated(build(cases.CONFIGS[name], torch.float32), name) for name in cases.GENERATED}
    lift_islands()
    for name, config in cases.CONFIGS.items():
        model, prompt = build(config, torch.float64), cases.PROMPTS[name]
        found = {f"weights/{key}": value.numpy() for key, value in model.state_dict().items()}
        found |= run(model, prompt) | {"table_float32": tables[name]}
        found |= {f"cached/{split}": run_cached(model, prompt, pieces) for split, pieces in cases.SPLITS.items()}
        found |= {f"tower/{key}": value for key, value in run_tower(model.vision_model, prompt.pixel_values).items()}
        if name in greedy:
            found["greedy"] = greedy[name]
        if name == cases.TRAINED:
            found |= {f"gradients/{key}": value for key, value in gradients(model, prompt).items()}
        found["modules"] = np.array([path for path, _ in model.named_modules()])
        np.savez(folder / f"{name}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
