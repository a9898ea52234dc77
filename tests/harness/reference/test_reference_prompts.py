"""Prompts: real text, padding where the row says, positions that count real tokens only."""

import numpy as np
import pytest

from paritygate.core.errors import UsageError
from paritygate.core.family import Prompt, PromptRow
from paritygate.reference.prompts import IGNORED_LABEL, inputs

ROWS = (PromptRow(), PromptRow(pad_left=2, start=100), PromptRow(pad_right=3, holes=(1,)))


def test_padding_holes_and_positions():
    made = inputs(Prompt("p", ROWS, 6), 0)
    assert made["attention_mask"].astype(int).tolist() == [[1] * 6, [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 0, 0]]
    assert made["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5], [0, 0, 100, 101, 102, 103], [0, 0, 1, 0, 0, 0]]
    assert ((made["tokens"] == 0) == ~made["attention_mask"]).all()
    # Predicted by a real token: not the first of a row, nor the first after padding or a hole.
    predicted = [[0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert (made["labels"] != IGNORED_LABEL).astype(int).tolist() == predicted
    assert (made["labels"] == made["tokens"])[made["labels"] != IGNORED_LABEL].all()
    assert made["slots"].tolist() == list(range(6))


def test_rows_and_seeds_give_other_text_and_one_seed_the_same():
    prompt = Prompt("p", (PromptRow(),) * 3, 30)
    first, again, other = (inputs(prompt, seed)["tokens"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert len({row.tobytes() for row in np.concatenate([first, other])}) == 6
    assert bytes(first[0].astype(np.uint8)).decode().isprintable() or b"\n" in bytes(first[0].astype(np.uint8))


def test_a_prompt_longer_than_its_text_is_refused():
    with pytest.raises(UsageError, match="text is too short"):
        inputs(Prompt("p", (PromptRow(),), 10**6), 0)
