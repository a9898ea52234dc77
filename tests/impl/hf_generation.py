"""Child process: run HF's logits processors and greedy `generate` on `generation_cases`; writes generation.npz.

Usage: python hf_generation.py FOLDER
"""

import sys
from pathlib import Path

import generation_cases as cases
import numpy as np
import torch
from hf_reference import build
from transformers import GenerationConfig

DTYPES = {"f32": torch.float32, "f64": torch.float64}


def processed(model) -> dict[str, np.ndarray]:
    found = {}
    for name, arguments in cases.PROCESSORS.items():
        config = GenerationConfig(do_sample=True, **arguments)
        mask = torch.from_numpy(cases.SEEN_MASK)
        processors = model._get_logits_processor(
            config, input_ids_seq_length=mask.shape[1], model_kwargs={"attention_mask": mask}, device="cpu"
        )
        for dtype in DTYPES:
            scores = torch.from_numpy(cases.LOGITS).to(DTYPES[dtype])
            found[f"processed/{dtype}/{name}"] = processors(torch.from_numpy(cases.SEEN_IDS), scores).numpy()
    return found


def generated(name: str, model) -> dict[str, np.ndarray]:
    ids, mask = torch.from_numpy(cases.INPUT_IDS), torch.from_numpy(cases.ATTENTION_MASK)

    def generate(**arguments) -> np.ndarray:
        model.generation_config.eos_token_id = arguments.pop("eos_token_id", None)
        out = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=cases.NEW_TOKENS,
            do_sample=False,
            pad_token_id=cases.PAD,
            **arguments,
        )
        return out[:, ids.shape[1] :].numpy()

    found = {f"{name}/{run}": generate(**arguments) for run, arguments in cases.GREEDY.items()}
    # Of each row one token that it makes: all rows stop, at different steps.
    stops = [int(found[f"{name}/plain"][row, step]) for row, step in enumerate(cases.STOPS_AT)]
    found[f"{name}/stops"] = np.array(stops)
    found[f"{name}/stopped"] = generate(eos_token_id=stops)
    return found


def main(folder: Path) -> None:
    found = {}
    for name, config in cases.CONFIGS.items():
        model = build(config, torch.float32)
        found |= generated(name, model)
        found |= {f"{name}/weights/{key}": value.numpy() for key, value in model.state_dict().items()}
    found |= processed(model)
    np.savez(folder / "generation.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
