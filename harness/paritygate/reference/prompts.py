"""Prompts to model inputs: bytes of a real text, with padding, holes and positions. NumPy only."""

from collections.abc import Mapping

import numpy as np

from paritygate.catalog.select import text_of
from paritygate.core.errors import UsageError
from paritygate.core.family import Prompt

PAD_TOKEN = 0
IGNORED_LABEL = -100


def seen(case_inputs: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
    """What a model is given for the slots from `start` to `end`: its own tokens, and the mask of all slots so far."""
    own = {name: array[..., start:end] for name, array in case_inputs.items()}
    return own | {"attention_mask": case_inputs["attention_mask"][:, :end]}


def inputs(prompt: Prompt, seed: int) -> dict[str, np.ndarray]:
    """The case inputs of a prompt: `tokens`, `attention_mask`, `position_ids`, `labels` (B, T) and `slots` (T,).

    Each row is another window of the text; `seed` chooses the windows. Positions count real tokens from the row's
    start, padding has position 0, and the loss ignores labels that are padding or are predicted by it.
    """
    text = text_of(prompt)
    if len(text) <= prompt.length:
        raise UsageError("text is too short", where=prompt.text, expected=f"more than {prompt.length} bytes")
    offsets = np.random.default_rng([prompt.seed, seed]).choice(
        len(text) - prompt.length, size=len(prompt.rows), replace=False
    )
    rows = len(prompt.rows)
    tokens = np.zeros((rows, prompt.length), np.int64)
    real = np.ones((rows, prompt.length), bool)
    positions = np.zeros((rows, prompt.length), np.int64)
    for i, (row, offset) in enumerate(zip(prompt.rows, offsets, strict=True)):
        real[i, : row.pad_left] = False
        real[i, prompt.length - row.pad_right :] = False
        real[i, list(row.holes)] = False
        window = np.frombuffer(text, np.uint8, int(real[i].sum()), int(offset))
        tokens[i] = PAD_TOKEN
        tokens[i, real[i]] = window
        positions[i, real[i]] = row.start + np.arange(real[i].sum())
    # A real token after padding would be predicted by a padding row, whose values nobody compares.
    predicted = real & np.pad(real[:, :-1], ((0, 0), (1, 0)))
    return {
        "tokens": tokens,
        "attention_mask": real,
        "position_ids": positions,
        "labels": np.where(predicted, tokens, IGNORED_LABEL),
        "slots": np.arange(prompt.length),
    }
