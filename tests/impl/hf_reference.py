"""Child process: run HF Llama 4 in true float64 on the cases of `impl_cases`; writes NAME.npz and NAME.json.

Usage: python hf_reference.py FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import impl_cases
import numpy as np
import torch
from transformers import DynamicCache, Llama4TextConfig, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.llama4.modeling_llama4 import Llama4ForCausalLM, Llama4PreTrainedModel


class Llama4ForSequenceClassification(GenericForSequenceClassification, Llama4PreTrainedModel):
    """HF has no such class; the name decides which loss it computes."""


def lift_islands() -> None:
    """Make HF's casts to float32 casts to float64; its own code then computes everything in float64."""
    torch.Tensor.float = torch.Tensor.double
    torch.float = torch.float64


def filled(model: PreTrainedModel) -> Any:
    """The model with the weights of `impl_cases`; a tied head has those of the embedding."""
    state = model.state_dict()
    drawn = impl_cases.draw_weights({name: tuple(tensor.shape) for name, tensor in state.items()})
    if model.config.get_text_config().tie_word_embeddings:
        for name in [name for name in drawn if name.endswith("lm_head.weight")]:
            drawn[name] = drawn[name.replace("lm_head.", "model.embed_tokens.")]
    model.load_state_dict({name: torch.from_numpy(drawn[name]).to(state[name].dtype) for name in state}, strict=True)
    return model.eval()


def build(config: dict, dtype: torch.dtype) -> Llama4ForCausalLM:
    return filled(Llama4ForCausalLM._from_config(Llama4TextConfig(**config), attn_implementation="eager", dtype=dtype))


def build_classifier(config: dict, num_labels: int, problem_type: str | None) -> Llama4ForSequenceClassification:
    config = Llama4TextConfig(**config, num_labels=num_labels, problem_type=problem_type)
    return filled(
        Llama4ForSequenceClassification._from_config(config, attn_implementation="eager", dtype=torch.float64)
    )


def tensors(prompt: impl_cases.Prompt, slots: slice = impl_cases.WHOLE) -> dict[str, torch.Tensor]:
    """Arguments of a call with these columns; HF wants the mask of all slots so far."""
    arguments = prompt.piece(slots) | {"attention_mask": prompt.attention_mask[:, : slots.stop]}
    return {name: torch.from_numpy(value) for name, value in arguments.items()}


def run_cached(model: PreTrainedModel, prompt: impl_cases.Prompt, split: tuple[int, ...]) -> np.ndarray:
    """Logits of the prompt fed in pieces."""
    cache, logits = DynamicCache(config=model.config.get_text_config()), []
    for slots in impl_cases.pieces(split):
        with torch.no_grad():
            out = model(**tensors(prompt, slots), past_key_values=cache, use_cache=True)
        logits.append(out.logits.numpy())
    return np.concatenate(logits, axis=1)


def run_classifiers(config: dict, prompt: impl_cases.Prompt) -> dict[str, np.ndarray]:
    found = {}
    for kind, (num_labels, problem_type, labels) in impl_cases.LABELS.items():
        model = build_classifier(config, num_labels, problem_type)
        with torch.no_grad():
            out = model(
                input_ids=torch.from_numpy(impl_cases.classified_ids()),
                attention_mask=torch.from_numpy(prompt.attention_mask),
                labels=torch.from_numpy(labels),
                use_cache=False,
            )
        found |= {f"classified.{kind}.logits": out.logits.numpy(), f"classified.{kind}.loss": out.loss.numpy()}
        found |= {f"classified.{kind}.weight": model.score.weight.detach().numpy()}
    return found


def run(model: PreTrainedModel, prompt: impl_cases.Prompt) -> dict[str, np.ndarray]:
    """Logits, loss, features of images, and what every layer gives."""
    with torch.no_grad():
        out = model(
            **tensors(prompt),
            labels=torch.from_numpy(prompt.labels),
            use_cache=False,
            output_attentions=True,
            output_hidden_states=True,
            output_router_logits=True,
        )
    found = {name: out[name] for name in ("logits", "loss", "image_hidden_states") if out.get(name) is not None}
    found |= {f"hidden_states.{i}": value for i, value in enumerate(out.hidden_states)}
    found |= {f"attentions.{i}": value for i, value in enumerate(out.attentions)}
    found |= {f"router_logits.{i}": value for i, value in enumerate(out.router_logits or ())}
    return {name: value.double().numpy() for name, value in found.items()}


def main(folder: Path) -> None:
    frequencies = {
        name: build(config, torch.float32).model.rotary_emb.inv_freq.numpy()
        for name, config in impl_cases.CONFIGS.items()
    }
    lift_islands()
    for name, config in impl_cases.CONFIGS.items():
        model = build(config, torch.float64)
        weights = {f"weights/{key}": value.numpy() for key, value in model.state_dict().items()}
        outputs = {f"outputs/{key}": value for key, value in run(model, impl_cases.PROMPT).items()}
        outputs |= {
            f"outputs/cached.{split}": run_cached(model, impl_cases.PROMPT, pieces)
            for split, pieces in impl_cases.SPLITS.items()
        }
        classified = run_classifiers(config, impl_cases.PROMPT)
        outputs |= {f"outputs/{key}": value for key, value in classified.items()}
        np.savez(folder / f"{name}.npz", inv_freq_float32=frequencies[name], **weights, **outputs)
        facts = {"modules": [path for path, _ in model.named_modules()], "config": model.config.to_dict()}
        (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
