"""Which tokens choose otherwise, by which margin, and which are behind a flip."""

import numpy as np

from paritygate.metrics.base import LARGEST
from paritygate.metrics.decisions import KEPT, NEVER, by_token, decide, first_slots, unreached

REAL = np.array([[False, True, True, True], [True, True, True, False]])
SCORES = np.tile([1.0, 0.75, -0.5, 0.25], (2, 4, 1))


def choices(*changed: tuple[int, int, int]) -> np.ndarray:
    """Expert 0 for every token but those that are changed."""
    found = np.zeros((2, 4, 1), int)
    for row, slot, expert in changed:
        found[row, slot] = expert
    return found


def decided(*changed: tuple[int, int, int], own=SCORES, **fields):
    return decide(choices(), choices(*changed), SCORES, own, REAL, port="out.logits", **fields)


def test_no_flip_where_only_padding_differs():
    found = decided((0, 0, 1), (1, 3, 2))
    assert (found.tokens, found.flipped, found.cascaded, found.flips) == (6, 0, 0, ())


def test_a_flip_has_the_margin_and_the_size_of_its_two_scores():
    own = SCORES.copy()
    own[1, 1, 1] = 1.5
    (flip,) = decided((1, 1, 1), own=own).flips
    assert (flip.token, flip.golden, flip.got, flip.depth) == ((1, 1), (0,), (1,), 0)
    assert (flip.margin, flip.scale, flip.own) == (0.25, 1.75, 0.5)
    (small,) = decided((0, 1, 3)).flips
    rms = float(np.sqrt(np.mean(SCORES[0, 0] ** 2)))
    assert small.scale == 1.0 + rms, "a score that is small by chance loses as much as the others"
    assert small.own == -0.75, "chosen against its own scores"


def test_of_several_exchanged_alternatives_the_widest_margin_counts():
    golden, got = np.zeros((1, 1, 2), int), np.zeros((1, 1, 2), int)
    golden[0, 0], got[0, 0] = (0, 1), (2, 3)
    (flip,) = decide(golden, got, SCORES[:1, :1], SCORES[:1, :1], np.ones((1, 1), bool), port="p").flips
    assert (flip.golden, flip.got, flip.margin) == ((0, 1), (2, 3), 1.5)
    assert flip.own == -1.5


def test_what_is_no_choice_at_all_has_an_endless_margin():
    for nonsense in (-1, 4):
        (flip,) = decided((0, 2, nonsense)).flips
        assert (flip.margin, flip.own) == (LARGEST, -LARGEST)


def test_later_flips_of_a_row_follow_from_its_first():
    never = np.array([NEVER, NEVER])
    found = decided((0, 1, 1), (0, 3, 1), (1, 2, 1), firsts=[np.array([2, NEVER]), never])
    assert (found.flipped, found.cascaded) == (2, 1)
    assert [(flip.token, flip.depth) for flip in found.flips] == [((0, 1), 0), ((1, 2), 0), ((0, 3), 2)]


def test_slots_of_a_piece_count_from_its_start():
    found = decided((0, 1, 1), start=8, firsts=[np.array([9, NEVER])])
    assert [(flip.token, flip.depth) for flip in found.flips] == [((0, 9), 1)]
    assert first_slots(np.array([[False, True, True], [False] * 3]), start=8).tolist() == [9, NEVER]


def test_only_the_widest_flips_are_kept_and_all_are_counted():
    golden = np.zeros((1, 40, 1), int)
    scores = np.stack([np.ones(40), 1.0 - np.arange(40) / 64], axis=-1)[None]
    found = decide(golden, golden + 1, scores, scores, np.ones((1, 40), bool), port="p")
    assert (found.flipped, len(found.flips)) == (40, KEPT)
    assert [flip.token[1] for flip in found.flips] == list(range(39, 39 - KEPT, -1))


def test_tokens_before_the_first_flip_of_their_row_are_not_reached():
    left = unreached(REAL, [np.array([3, NEVER]), np.array([NEVER, 1])])
    assert left.tolist() == [[False, True, True, False], [True, False, False, False]]
    assert (unreached(REAL, []) == REAL).all()


def test_choices_of_merged_rows_are_by_token():
    merged = np.arange(16).reshape(8, 2)
    assert (by_token(merged, "(B T) J", (2, 4)) == merged.reshape(2, 4, 2)).all()
