"""Child process: HF's Llama 4 in torch. Usage: python hf_child.py FOLDER SIZE DTYPE ATTENTION THREADS

With the dtype `write` it writes the checkpoints that all children load, and ends.
"""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from child import serve
from sizes import SIZES
from transformers import DynamicCache, Llama4ForCausalLM, Llama4TextConfig, Llama4VisionConfig, Llama4VisionModel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


transformers.utils.logging.disable_progress_bar()


def write(folder: Path, size_name: str) -> None:
    torch.manual_seed(0)
    Llama4ForCausalLM(Llama4TextConfig(**SIZES[size_name].config)).save_pretrained(folder)
    Llama4VisionModel(Llama4VisionConfig(**SIZES[size_name].vision_config)).save_pretrained(folder / "vision")


@torch.inference_mode()
def main(folder: Path, size_name: str, dtype: str, attention: str, threads: int) -> None:
    torch.set_num_threads(threads)
    size = SIZES[size_name]
    model = Llama4ForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype], attn_implementation=attention).eval()
    prompt = torch.from_numpy(np.load(folder / "prompt.npy"))
    loaded = Llama4VisionModel.from_pretrained(folder / "vision", dtype=DTYPES[dtype], attn_implementation=attention)
    vision = loaded.eval()
    pixels = torch.from_numpy(np.load(folder / "pixels.npy")).to(DTYPES[dtype])
    state: dict[str, Any] = {}

    def prefill() -> None:
        cache = DynamicCache(config=model.config)
        out = model(input_ids=prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
        state.update(cache=cache, token=out.logits[:, -1].argmax(-1, keepdim=True), logits=out.logits[:, -1])

    def decode() -> None:
        for _ in range(size.decode_tokens):
            out = model(input_ids=state["token"], past_key_values=state["cache"], use_cache=True, logits_to_keep=1)
            state.update(token=out.logits[:, -1].argmax(-1, keepdim=True), logits=out.logits[:, -1])
            state["token"].tolist()

    def tower() -> None:
        state["features"] = vision(pixels).last_hidden_state

    def save(what: str) -> None:
        np.save(folder / f"{what}-hf {attention}-{dtype}.npy", state[what].float().numpy())

    about = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "threads": torch.get_num_threads(),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vision_parameters": sum(weight.numel() for weight in vision.parameters()),
    }
    jobs = {"prefill": prefill, "decode": decode, "tower": tower}
    serve(about, jobs | {f"save {what}": functools.partial(save, what) for what in ("logits", "features")})


if __name__ == "__main__":
    folder, size_name, dtype = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if dtype == "write":
        write(folder, size_name)
    else:
        main(folder, size_name, dtype, sys.argv[4], int(sys.argv[5]))
