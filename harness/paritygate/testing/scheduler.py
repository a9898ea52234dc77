"""How pytest-xdist shares out a session with parity items: equal keys on one worker, everything else as `load` does.

`--dist loadgroup` of pytest-xdist 3.8 groups nothing under pytest 9.2.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from xdist.scheduler import LoadScheduling
from xdist.workermanage import WorkerController

from paritygate.testing.told import key_of


class ParityScheduling(LoadScheduling):
    """Gives whole groups of parity items to workers, one after another and before other tests, which fill the gaps.

    A group takes as long as its replay, which its first item makes. Until that item is done its worker gets no more
    than it needs: pytest-xdist runs an item only when it knows the next. Without parity items this is `load`.
    """

    def __init__(self, config: Any, log: Any = None):
        super().__init__(config, log)
        self.groups: deque[list[int]] = deque()
        self.keys: list[str] = []  # of each test; none where there is no parity item
        self.begun: set[str] = set()  # keys of which an item is done

    @property
    def tests_finished(self) -> bool:
        return not self.groups and super().tests_finished

    @property
    def has_pending(self) -> bool:
        return bool(self.groups) or super().has_pending

    def schedule(self) -> None:
        collected = next(iter(self.node2collection.values()))
        if self.collection is not None or not any(keys := [key_of(node_id) for node_id in collected]):
            super().schedule()
            return
        if not self._check_nodes_have_same_collection():
            self.log("**Different tests collected, aborting run**")
            return
        self.collection, self.keys = collected, keys
        self._queue(range(len(collected)))
        # A large first share is for tests that are known to be alike; here others may still be minutes away.
        self.maxschedchunk = self.maxschedchunk or max(2, len(self.pending) // len(self.nodes) // 4)
        for node in self.nodes:  # each its first group before any gets a second one
            self._send_group(node)
        for node in self.nodes:
            self.check_schedule(node)

    def _queue(self, indices: Sequence[int]) -> None:
        groups: dict[str, list[int]] = {}
        for index in indices:
            if key := self.keys[index] if self.keys else "":
                groups.setdefault(key, []).append(index)
            else:
                self.pending.append(index)
        self.groups.extend(groups.values())

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        if self.keys:
            self.begun.add(self.keys[item_index])
        super().mark_test_complete(node, item_index, duration)

    def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
        if node.shutting_down:
            return
        while self.groups and not self._is_busy(node):
            self._send_group(node)
        if self._is_busy(node):
            self._fill(node)
        else:
            super().check_schedule(node, duration)

    def _is_busy(self, node: WorkerController) -> bool:
        """Whether a replay is still before it."""
        if not self.keys:
            return False
        return any(key and key not in self.begun for key in (self.keys[index] for index in self.node2pending[node]))

    def _fill(self, node: WorkerController) -> None:
        """So that a group of one item runs too: with another test, else another group, else as the worker's last."""
        if len(self.node2pending[node]) >= 2:
            return
        if self.pending:
            self._send_tests(node, 1)
        elif self.groups:
            self._send_group(node)
        else:
            node.shutdown()

    def _send_group(self, node: WorkerController) -> None:
        if self.groups:
            group = self.groups.popleft()
            self.node2pending[node].extend(group)
            node.send_runtest_some(group)

    def remove_node(self, node: WorkerController) -> str | None:
        """What a crashed worker had left is queued again, in its groups."""
        left = self.node2pending.pop(node)
        if not left:
            return None
        assert self.collection is not None
        crashed = self.collection[left.pop(0)]
        self._queue(left)
        for other in self.nodes:
            self.check_schedule(other)
        return crashed
