"""What the node ids and the reports of parity items say, read in the process that only distributes and gathers them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

# The end of a parity case's id, within the brackets of a node id: `tiny-scout.long/bf16/single/cpu/chained`.
_ID = re.compile(r"\[.*/(?P<cell>[^/\[\]]+/[^/\[\]]+/(?P<platform>\w+))/(?:isolated|chained|gradient)\b[^/]*\]$")


def key_of(node_id: str) -> str:
    """What items share that one worker must have together; empty of a test that is no parity item.

    Programs are of one cell, and workers cannot share an accelerator: of those that run on one the platform is the key.
    """
    found = _ID.search(node_id)
    if found is None:
        return ""
    return found["cell"] if found["platform"] == "cpu" else found["platform"]


def platforms_of(node_ids: Sequence[str]) -> list[str]:
    """The accelerators that parity items ask for."""
    found = (match["platform"] for match in map(_ID.search, node_ids) if match)
    return [platform for platform in dict.fromkeys(found) if platform != "cpu"]


@dataclass
class Item:
    """What the tests of one parity case reported: outcomes, why it was skipped, and which processes ran it."""

    outcomes: set[str] = field(default_factory=set)
    skipped: str = ""
    workers: dict[str, None] = field(default_factory=dict)


class Told:
    """The reports of a session, by the id of the parity case."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    @property
    def something(self) -> bool:
        """Whether anything was tried, which a mark to skip it does not do."""
        return any(item.skipped or "skipped" not in item.outcomes for item in self.items.values())

    @property
    def expected_to_fail(self) -> bool:
        return any("xfailed" in item.outcomes for item in self.items.values())

    def take(self, report: pytest.TestReport) -> None:
        said: dict[Any, Any] = {name: value for name, value in report.user_properties}
        if "parity_id" not in said:
            return
        item = self.items.setdefault(str(said["parity_id"]), Item())
        item.outcomes.add("xfailed" if hasattr(report, "wasxfail") else report.outcome)
        item.skipped = item.skipped or str(said.get("parity_skipped", ""))
        item.workers[str(getattr(report, "worker_id", "main"))] = None
