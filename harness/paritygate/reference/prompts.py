"""Prompts to model inputs: bytes of a real text with pictures in it, padding, holes and positions. NumPy only."""

from collections.abc import Callable, Mapping

import numpy as np

from paritygate.catalog.select import text_of
from paritygate.core.errors import UsageError
from paritygate.core.family import PIXELS, Picture, Prompt, PromptRow

PAD_TOKEN = 0
IGNORED_LABEL = -100

# The tiles of a picture, (I, C, h, w), and the tokens that stand for it.
Show = Callable[[Picture, np.random.Generator], tuple[np.ndarray, list[int]]]


def seen(case_inputs: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
    """What a model is given for the slots from `start` to `end`: its own tokens, and the mask of all slots so far.

    Pixels have no slots and stay as they are.
    """
    own = {name: array if name == PIXELS else array[..., start:end] for name, array in case_inputs.items()}
    return own | {"attention_mask": case_inputs["attention_mask"][:, :end]}


def inputs(prompt: Prompt, seed: int, show: Show | None = None) -> dict[str, np.ndarray]:
    """The case inputs of a prompt: `tokens`, `attention_mask`, `position_ids`, `labels` (B, T), `slots` (T,).

    Each row is another window of the text; `seed` chooses the windows. Positions count real tokens from the row's
    start, padding has position 0, and the loss ignores labels that are padding or are predicted by it.

    Pictures are what `show` makes of them, and the seed chooses their places too; their tiles are `pixels`
    (I, C, h, w), row by row. Raises UsageError where they do not fit the row or the prompt's first piece, or where
    there is nothing that shows them.
    """
    if prompt.pictures and show is None:
        raise UsageError(
            "pictures in a prompt of a family that shows none",
            where=prompt.name,
            expected="`pictures` of the reference's Side",
            got=f"pictures: {len(prompt.pictures)}",
        )
    text = text_of(prompt)
    if len(text) <= prompt.length:
        raise UsageError("text is too short", where=prompt.text, expected=f"more than {prompt.length} bytes")
    random = np.random.default_rng([prompt.seed, seed])
    offsets = random.choice(len(text) - prompt.length, size=len(prompt.rows), replace=False)
    rows = len(prompt.rows)
    pixels: list[np.ndarray] = []
    tokens = np.zeros((rows, prompt.length), np.int64)
    real = np.ones((rows, prompt.length), bool)
    positions = np.zeros((rows, prompt.length), np.int64)
    for i, (row, offset) in enumerate(zip(prompt.rows, offsets, strict=True)):
        real[i, : row.pad_left] = False
        real[i, prompt.length - row.pad_right :] = False
        real[i, list(row.holes)] = False
        shown = [show(picture, random) for picture in row.pictures] if show else []
        pixels += [tiles for tiles, _ in shown]
        runs = [run for _, run in shown]
        of_text = int(real[i].sum()) - sum(map(len, runs))
        window = np.frombuffer(text, np.uint8, max(of_text, 0), int(offset)).tolist()
        tokens[i] = PAD_TOKEN
        tokens[i, real[i]] = _with_pictures(prompt, row, window, runs, np.flatnonzero(real[i]), of_text)
        positions[i, real[i]] = row.start + np.arange(real[i].sum())
    # A real token after padding would be predicted by a padding row, whose values nobody compares.
    predicted = real & np.pad(real[:, :-1], ((0, 0), (1, 0)))
    made = {
        "tokens": tokens,
        "attention_mask": real,
        "position_ids": positions,
        "labels": np.where(predicted, tokens, IGNORED_LABEL),
        "slots": np.arange(prompt.length),
    }
    return made | ({PIXELS: np.concatenate(pixels)} if pixels else {})


def _with_pictures(
    prompt: Prompt, row: PromptRow, window: list[int], runs: list[list[int]], slots: np.ndarray, of_text: int
) -> list[int]:
    """A row's real tokens: its text, each picture's run after as many bytes as the picture says."""
    ats = [picture.at for picture in row.pictures]
    if runs and (of_text < ats[-1] or ats != sorted(ats)):
        raise UsageError(
            "pictures do not fit their row",
            where=prompt.name,
            expected=f"places in order, {ats[-1]} bytes of text and {sum(map(len, runs))} tokens of pictures",
            got=f"places {ats}, {len(slots)} slots",
        )
    tokens: list[int] = []
    taken = 0
    for at, run in zip(ats if runs else [], runs, strict=True):
        tokens += [*window[taken:at], *run]
        taken = at
    _, first_end = prompt.spans[0]
    if runs and slots[len(tokens) - 1] >= first_end:
        raise UsageError(
            "a picture goes past the first piece",
            where=prompt.name,
            expected=f"all pictures in the first {first_end} slots",
            got=f"slot {slots[len(tokens) - 1]}",
        )
    return tokens + window[taken:]
