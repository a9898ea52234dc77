"""What a port that nothing was planted in does to the gate on other weights and other text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from paritygate.core.drift import Row
from paritygate.core.errors import ExitCode


@dataclass(frozen=True)
class Share:
    """The row of one cell and mode that came nearest to the limit of one rule, of `values` that the rule judged."""

    rule: str
    cell: str
    mode: str
    values: int
    seed: int
    case: str
    address: str
    metric: str
    ratio: float
    limit: float

    @property
    def share(self) -> float:
        """The part of the budget that is used, as `Judgement.share`."""
        return self.ratio / self.limit if self.limit else self.ratio


@dataclass(frozen=True)
class Seed:
    """One seed of a family's weights and text, judged on budgets alone.

    `alarms` are the rows that the gate does not pass; `skipped` are those that could not be compared, as behind a
    choice between near ties that went the other way; `refused` counts, by case, the prompts that capture passed over
    because their routing was nearly tied; `unclear` are cases that were left out, for no prompt would do. `code` is
    what the seed's run ends with, `folder` the run.
    """

    number: int
    rows: int
    alarms: tuple[Row, ...]
    skipped: tuple[Row, ...]
    shares: tuple[Share, ...]
    refused: Mapping[str, int]
    unclear: tuple[str, ...]
    problems: tuple[str, ...]
    code: ExitCode
    folder: str


def nearest(shares: Iterable[Share]) -> list[Share]:
    """The nearest of each rule, cell and mode, nearest first, each with the values of all."""
    found: dict[tuple[str, str, str], Share] = {}
    for share in shares:
        key = (share.rule, share.cell, share.mode)
        before = found.get(key, replace(share, values=0))
        found[key] = replace(max(before, share, key=lambda s: s.share), values=before.values + share.values)
    return sorted(found.values(), key=lambda share: -share.share)
