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
from transformers import DynamicCache, Llama4TextConfig
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.llama4.modeling_llama4 import Llama4ForCausalLM, Llama4PreTrainedModel


class Llama4ForSequenceClassification(GenericForSequenceClassification, Llama4PreTrainedModel):
    """HF has no such class; the name decides which loss it computes."""


def lift_islands() -> None:
    """Make HF's casts to float32 casts to float64; its own code then computes everything in float64."""
    torch.Tensor.float = torch.Tensor.double
    torch.float = torch.float64


def build(config: dict, dtype: torch.dtype) -> Llama4ForCausalLM:
    model = Llama4ForCausalLM._from_config(Llama4TextConfig(**config), attn_implementation="eager", dtype=dtype)
    state = model.state_dict()
    drawn = impl_cases.draw_weights({name: tuple(tensor.shape) for name, tensor in state.items()})
    if config.get("tie_word_embeddings"):
        drawn["lm_head.weight"] = drawn["model.embed_tokens.weight"]
    model.load_state_dict({name: torch.from_numpy(value).to(dtype) for name, value in drawn.items()}, strict=True)
    return model.eval()


def build_classifier(config: dict, num_labels: int, problem_type: str | None) -> Llama4ForSequenceClassification:
    config = Llama4TextConfig(**config, num_labels=num_labels, problem_type=problem_type)
    model = Llama4ForSequenceClassification._from_config(config, attn_implementation="eager", dtype=torch.float64)
    drawn = impl_cases.draw_weights({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()}, strict=True)
    return model.eval()


def run_cached(model: Llama4ForCausalLM, prompt: impl_cases.Prompt, split: tuple[int, ...]) -> np.ndarray:
    """Logits of the prompt fed in pieces; HF wants the mask of all slots so far at every call."""
    cache, logits, start = DynamicCache(config=model.config), [], 0
    for length in split:
        piece = slice(start, start + length)
        with torch.no_grad():
            out = model(
                input_ids=torch.from_numpy(prompt.input_ids[:, piece]),
                attention_mask=torch.from_numpy(prompt.attention_mask[:, : piece.stop]),
                position_ids=torch.from_numpy(prompt.position_ids[:, piece]),
                past_key_values=cache,
                use_cache=True,
            )
        logits.append(out.logits.numpy())
        start += length
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


def run(model: Llama4ForCausalLM, prompt: impl_cases.Prompt) -> dict[str, np.ndarray]:
    with torch.no_grad():
        out = model(
            input_ids=torch.from_numpy(prompt.input_ids),
            attention_mask=torch.from_numpy(prompt.attention_mask),
            position_ids=torch.from_numpy(prompt.position_ids),
            labels=torch.from_numpy(prompt.labels),
            use_cache=False,
            output_attentions=True,
            output_hidden_states=True,
            output_router_logits=True,
        )
    return outputs_of(out)


def outputs_of(out: Any) -> dict[str, np.ndarray]:
    """Logits, loss and what was asked for of every layer, in float64."""
    found = {"logits": out.logits, "loss": out.loss}
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
