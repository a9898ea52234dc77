"""Child process: folders that HF writes for `jax_llama4` to read, and what HF makes of those that `jax_llama4` wrote.

Usage: python hf_pretrained.py write FOLDER | read FOLDER. Both work on the folders in FOLDER; read adds NAME.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import impl_cases
import multimodal_cases
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Llama4Config,
    Llama4ForConditionalGeneration,
    Llama4TextConfig,
    Llama4VisionConfig,
    Llama4VisionModel,
)
from transformers.models.llama4.modeling_llama4 import Llama4ForCausalLM, Llama4TextModel

CLASSES = {
    "Llama4ForCausalLM": AutoModelForCausalLM,
    "Llama4ForConditionalGeneration": AutoModelForImageTextToText,
    "Llama4TextModel": Llama4TextModel,
    "Llama4VisionModel": Llama4VisionModel,
}
# No field has its default, so that one which is dropped on the way is missed.
UNREAD = {
    "initializer_range": 0.03,
    "projector_dropout": 0.1,
    "attention_dropout": 0.2,
    "vision_feature_select_strategy": "full",
    "vision_feature_layer": -2,
    "multi_modal_projector_bias": True,
}


def read(folder: Path) -> dict[str, Any]:
    """Load a folder as its config says; the official reader tells what is in its files."""
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, info = CLASSES[architecture].from_pretrained(folder, output_loading_info=True)
    stored = {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}
    state = model.state_dict()
    return {
        "class": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "trouble": {name: sorted(map(str, value)) for name, value in info.items() if value},
        "unequal": [name for name, value in stored.items() if not same_bits(state[name], value)],
        "not in file": sorted(set(state) - set(stored)),
        "head is the table": is_tied(model),
        "config": model.config.to_dict(),
    }


def is_tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def build(model_class: Any, config: Any, dtype: torch.dtype) -> Any:
    """A model whose weights are all drawn, so that none is what a fresh model has anyway."""
    model = model_class._from_config(config, dtype=dtype)
    drawn = impl_cases.draw_weights({name: tuple(value.shape) for name, value in model.state_dict().items()})
    if is_tied(model):
        drawn = {name: value for name, value in drawn.items() if not name.endswith("lm_head.weight")}
    model.load_state_dict({name: torch.from_numpy(value).to(dtype) for name, value in drawn.items()}, strict=False)
    return model


def write(folder: Path) -> None:
    texts = {name: Llama4TextConfig(**config) for name, config in impl_cases.CONFIGS.items()}
    single = build(Llama4ForCausalLM, texts["scout"], torch.float32)
    single.save_pretrained(folder / "single f32")
    sharded = build(Llama4ForCausalLM, texts["scout"], torch.bfloat16)
    sharded.save_pretrained(folder / "shards bf16", max_shard_size="9KB")
    build(Llama4ForCausalLM, texts["unusual"], torch.bfloat16).save_pretrained(folder / "tied bf16")
    build(Llama4TextModel, texts["maverick"], torch.float32).save_pretrained(folder / "headless f32")
    tower = Llama4VisionConfig(**multimodal_cases.VISION["square"] | UNREAD)
    build(Llama4VisionModel, tower, torch.float32).save_pretrained(folder / "vision f32")
    for name, case, tied in (("multimodal bf16", "thirds", False), ("multimodal tied bf16", "unshuffled", True)):
        data = multimodal_cases.CONFIGS[case]
        composite = Llama4Config(
            **data
            | {
                "text_config": data["text_config"] | {"tie_word_embeddings": tied},
                "vision_config": data["vision_config"] | UNREAD,
            }
        )
        model = build(Llama4ForConditionalGeneration, composite, torch.bfloat16)
        model.save_pretrained(folder / name, **({} if tied else {"max_shard_size": "30KB"}))


def read_all(folder: Path) -> None:
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        (folder / f"{one.name}.json").write_text(json.dumps(read(one)))


if __name__ == "__main__":
    {"write": write, "read": read_all}[sys.argv[1]](Path(sys.argv[2]))
