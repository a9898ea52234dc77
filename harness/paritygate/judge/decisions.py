"""Which flips of a choice are excused: those that the dtype can have made. Reads and writes nothing."""

from collections.abc import Iterable
from dataclasses import replace

from paritygate.core.decision import Decided, Excuse
from paritygate.core.drift import Row, Verdict

# The metrics of choices, and the metric of their scores whose budget bounds what may flip.
TOP_TOKEN = "top1"
CHOICES = ("agreement", TOP_TOKEN)
SCORED_BY = "rel_l2"

# A single score may be off by this many times the rms that its budget allows: both together then reach 2.8 standard
# deviations of their difference.
SCORE_X = 2.0

# Problems that leave nothing to compare: a choice was forced, or every token is behind a flip.
SKIPS = ("forced", "behind")


def excused(decided: Decided, allowed: float) -> Excuse:
    """What becomes of the flips, where the scores may have a rel_l2 of `allowed`.

    Each of two scores may then be off by SCORE_X times that part of its own magnitude or, where that is more, of the
    rms of its token's: the one downwards, the other upwards. Flips that are not kept have narrower margins than those
    that are.
    """
    return excused_within(decided, SCORE_X * allowed)


def excused_within(decided: Decided, bound_x: float) -> Excuse:
    """The same, by the bound on the ratio of a flip's margin to its scale."""
    whole = Excuse(bound_x, decided.flipped, 0, decided.cascaded)
    refused = sum(flip.depth == 0 and not whole.allows(flip) for flip in decided.flips)
    return replace(whole, excused=decided.flipped - refused, refused=refused)


def refusal(decided: Decided, excuse: Excuse) -> str:
    """What is wrong with the flips that are refused, the worst of them in words."""
    flip = max(
        (flip for flip in decided.flips if flip.depth == 0 and not excuse.allows(flip)),
        key=lambda flip: (flip.own < 0.0, flip.ratio),
    )
    token = f"token {flip.token[1]} of row {flip.token[0]}"
    chose = f"{excuse.refused} of {decided.tokens} tokens choose otherwise without an excuse: {token} chose "
    chose += f"{_named(flip.got)} for {_named(flip.golden)}, "
    if flip.own < 0.0:
        return chose + "against its own scores"
    return chose + (f"a margin of {flip.ratio:.2g} of the two scores, allowed {excuse.bound_x:.2g}")


def _named(alternatives: tuple[int, ...]) -> str:
    return " and ".join(map(str, alternatives)) or "nothing"


def refuse_what_follows(rows: Iterable[Row]) -> list[Row]:
    """The same rows: flips that follow from one that is refused are refused too."""
    rows = list(rows)
    first: dict[tuple[str, str, str], int] = {}
    for row in rows:
        if row.excuse is not None and row.excuse.refused:
            place = (row.drift.case, row.drift.cell, row.drift.mode)
            first[place] = min(row.drift.order, first.get(place, row.drift.order))
    return [
        _refused(row)
        if first.get((row.drift.case, row.drift.cell, row.drift.mode), row.drift.order) < row.drift.order
        else row
        for row in rows
    ]


def _refused(row: Row) -> Row:
    if row.excuse is None or not row.excuse.cascaded or row.verdict is not Verdict.PASS:
        return row
    excuse = replace(row.excuse, refused=row.excuse.refused + row.excuse.cascaded, cascaded=0)
    reason = f"{row.excuse.cascaded} tokens choose otherwise because of flips that are not excused"
    judgements = tuple(
        replace(j, value=value, ratio=value, ok=False) if j.metric in CHOICES else j
        for j in row.judgements
        for value in (excuse.refused / row.drift.decided.tokens if row.drift.decided else j.value,)
    )
    return replace(row, verdict=Verdict.OVER_BUDGET, excuse=excuse, reason=reason, judgements=judgements)
