"""Logits, processors and left-padded prompts for sampling and generation; NumPy only, read by both frameworks."""

import impl_cases
import numpy as np

# The tied head of the third configuration repeats its input for ever, which shows little. The attention temperature is
# strong, so that a slot counted wrongly changes tokens and not only their probabilities.
CONFIGS = {name: impl_cases.CONFIGS[name] | {"attn_scale": 1.0} for name in ("scout", "maverick")}
_VOCAB = 61
PAD = 0


def _logits() -> np.ndarray:
    rng = np.random.default_rng(11)
    rows = 3 * rng.standard_normal((6, _VOCAB))
    rows[1] = np.round(rows[1])  # ties, also at every edge
    rows[2] = 0.0  # nothing but ties
    rows[3, 17] = 40.0  # one token has all the probability
    rows[4, 5:40] = -np.inf  # as an earlier processor leaves them
    rows[5] *= 0.05  # nearly flat
    return rows


TIED = [1, 2]
# Drawn in float32, so that both dtypes see the same values.
LOGITS = _logits().astype("float32")


def _prompt() -> tuple[np.ndarray, np.ndarray]:
    # Chunks of 8 and a floor scale of 4 (see impl_cases): 13 + 14 slots cross three boundaries of either.
    ids = np.random.default_rng(13).integers(3, _VOCAB, (4, 13))
    mask = np.ones_like(ids)
    for row, padding in enumerate((0, 3, 9, 12)):
        mask[row, :padding] = 0
        ids[row, :padding] = PAD
    return ids, mask


INPUT_IDS, ATTENTION_MASK = _prompt()
NEW_TOKENS = 14

# Already generated ids for the penalty: padding on the left does not count, the same id inside does.
SEEN_IDS = np.concatenate([INPUT_IDS, np.full((4, 1), PAD)], axis=1)[[0, 1, 2, 3, 0, 1]]
SEEN_MASK = np.concatenate([ATTENTION_MASK, np.ones((4, 1), int)], axis=1)[[0, 1, 2, 3, 0, 1]]

# Arguments of HF's GenerationConfig and of `Sampling` alike; the combinations show the order.
PROCESSORS = {
    "temperature": {"temperature": 0.7},
    "hot": {"temperature": 2.5},
    "top-k 1": {"top_k": 1},
    "top-k": {"top_k": 7},
    "top-k above the vocabulary": {"top_k": 1000},
    "top-p": {"top_p": 0.8},
    "top-p of nearly nothing": {"top_p": 1e-6},
    "min-p": {"min_p": 0.1},
    "min-p 1": {"min_p": 1.0},
    "min-p 0": {"min_p": 0.0},
    "penalty": {"repetition_penalty": 1.3},
    "reward": {"repetition_penalty": 0.8},
    "all": {"temperature": 1.7, "top_k": 30, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
    "top-p after top-k": {"top_k": 4, "top_p": 0.7},
    "min-p after top-p": {"top_p": 0.95, "min_p": 0.3},
}

# Greedy runs: further arguments of both `generate`s, on the prompt above. A third run has the stop tokens that the
# first one makes at these steps, one in each row.
GREEDY = {"plain": {}, "penalty": {"repetition_penalty": 1.4}}
STOPS_AT = (1, 3, 9, 5)
