"""How near a run's rows came to each rule of the budgets. Reads and writes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from paritygate.core.budget import Budgets
from paritygate.core.drift import Row


@dataclass(frozen=True)
class Usage:
    """One rule: how many judgements it made, the largest part of its limit that was used, and the row that used it."""

    rule: str
    rows: int = 0
    share: float = 0.0
    nearest: Row | None = None


def usage(rows: Iterable[Row], budgets: Budgets) -> list[Usage]:
    """Every rule in the order in which they decide, those that decided nothing too."""
    found = {rule.name: Usage(rule.name) for rule in budgets.ordered}
    for row in rows:
        for judgement in row.judgements:
            known = found.get(judgement.rule, Usage(judgement.rule))  # a run may be judged by rules that are gone
            nearer = known.nearest is None or judgement.share > known.share
            share, nearest = (judgement.share, row) if nearer else (known.share, known.nearest)
            found[judgement.rule] = Usage(judgement.rule, known.rows + 1, share, nearest)
    return list(found.values())
