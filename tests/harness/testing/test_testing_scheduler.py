"""Who gets which test: groups of parity items whole, one after another, other tests in the gaps and at the end."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from xdist.scheduler import LoadScheduling

from paritygate.testing.scheduler import ParityScheduling
from paritygate.testing.told import key_of, platforms_of

CASE = "test_port.py::test_parity[toy-2.plain/{}/single/{}/{}]"


class Node:
    """A worker of pytest-xdist as a scheduler sees it. It runs a test once it knows the next, or that none comes."""

    def __init__(self, name: str):
        self.gateway = SimpleNamespace(id=name)
        self.queue: list[int] = []
        self.ran: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def runs(self) -> bool:
        return len(self.queue) > (0 if self.shutting_down else 1)


def config(nodes: int) -> Any:
    options = {"tx": ["popen"] * nodes, "maxschedchunk": None}
    return SimpleNamespace(
        getoption=options.get, getvalue=options.get, hook=None, option=SimpleNamespace(tx=options["tx"])
    )


class Session:
    """A scheduler, its workers, and one test after another: of those that can run, of the worker that ran least."""

    def __init__(self, ids: list[str], nodes: int, cls: type[LoadScheduling] = ParityScheduling):
        self.ids, self.nodes = ids, [Node(f"gw{i}") for i in range(nodes)]
        self.scheduler = cls(config(nodes), cast(Any, SimpleNamespace(loadsched=lambda *_: None)))
        for node in self.nodes:
            self.add(node)
        self.scheduler.schedule()

    def add(self, node: Node) -> None:
        self.scheduler.add_node(cast(Any, node))
        self.scheduler.add_node_collection(cast(Any, node), self.ids)

    def step(self, node: Node) -> None:
        index = node.queue.pop(0)
        node.ran.append(index)
        self.scheduler.mark_test_complete(cast(Any, node), index, 1.0)
        if self.scheduler.tests_finished:
            for each in self.nodes:
                each.shutdown()

    def finish(self) -> None:
        while ready := [node for node in self.nodes if node.runs]:
            self.step(min(ready, key=lambda node: len(node.ran)))

    def by_node(self) -> list[list[str]]:
        """The keys that each worker ran, in order, one after another named once; other tests are `-`."""
        found = []
        for node in self.nodes:
            keys = [key_of(self.ids[index]) or "-" for index in node.ran]
            found.append([key for i, key in enumerate(keys) if i == 0 or keys[i - 1] != key])
        return found


def parity(*cells: str, platform: str = "cpu", modes: Sequence[str] = ("isolated", "chained")) -> list[str]:
    return [CASE.format(cell, platform, mode) for cell in cells for mode in modes]


def others(count: int) -> list[str]:
    return [f"test_other.py::test_other[{i}]" for i in range(count)]


def test_keys_are_read_off_node_ids() -> None:
    assert key_of("t.py::t[toy-2.plain/bf16/single/cpu/chained]") == "bf16/single/cpu"
    assert key_of("t.py::t[3-toy-2.plain/bf16/fsdp2tp2/cpu/gradient-a]") == "bf16/fsdp2tp2/cpu"
    assert key_of("t.py::t[toy-2.plain/bf16/single/gpu/chained]") == "gpu", "one worker has the platform"
    for other in ("t.py::t", "t.py::t[a]", "t.py::t[a/b/c/d/e]", "a/b/c/d/chained.py::t[x]", "t.py::t[chained]"):
        assert key_of(other) == ""
    assert platforms_of(parity("f64") + parity("f64", "bf16", platform="gpu")) == ["gpu"]


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("modes", [("chained",), ("isolated", "chained"), ("isolated", "chained", "gradient")])
@pytest.mark.parametrize("cells", ["f64", "f64 f32", "f64 f32 f16 bf16"])
def test_every_test_runs_once_and_every_key_on_one_worker(
    nodes: int, count: int, modes: tuple[str, ...], cells: str
) -> None:
    ids = others(count // 2) + parity(*cells.split(), modes=modes) + others(count)[count // 2 :]
    session = Session(ids, nodes)
    session.finish()
    assert sorted(index for node in session.nodes for index in node.ran) == list(range(len(ids)))
    keys = [key for keys in session.by_node() for key in set(keys) - {"-"}]
    assert sorted(keys) == sorted(f"{cell}/single/cpu" for cell in cells.split())


def test_groups_are_shared_out_before_anything_else() -> None:
    session = Session(others(20) + parity("f64", "f32"), 2)
    session.finish()
    assert session.by_node() == [["f64/single/cpu", "-"], ["f32/single/cpu", "-"]]


def test_a_long_replay_holds_up_no_other_test() -> None:
    session = Session(parity("f64") + others(40), 2)
    busy, free = session.nodes
    while free.runs:
        session.step(free)
    assert not busy.ran and len(busy.queue) == 2, "nothing waits behind its replay"
    assert len(free.ran) == 40 - len(free.queue)
    session.finish()


def test_a_group_of_one_item_is_given_a_test_to_follow() -> None:
    session = Session(parity("f64", "f32", "bf16", modes=("chained",)) + others(4), 2)
    assert [len(node.queue) for node in session.nodes] == [2, 2]
    assert [key_of(session.ids[node.queue[1]]) for node in session.nodes] == ["", ""]
    session.finish()


def test_without_parity_items_it_is_load() -> None:
    for count in (0, 1, 3, 50):
        ours, load = Session(others(count), 2), Session(others(count), 2, LoadScheduling)
        ours.finish()
        load.finish()
        assert [node.ran for node in ours.nodes] == [node.ran for node in load.nodes]


def test_what_a_dead_worker_had_goes_on_in_its_groups() -> None:
    one = parity("f64", modes=("isolated", "chained", "gradient"))
    ids = [*one, *(each.replace("toy-2", "toy-3") for each in one), *parity("f32")]
    session = Session(ids, 2)
    dead = session.nodes.pop(0)
    assert session.scheduler.remove_node(cast(Any, dead)) == ids[0], "the item that it was at"
    fresh = Node("gw2")
    session.nodes.append(fresh)
    session.add(fresh)
    session.scheduler.schedule()
    session.finish()
    assert sorted(index for node in session.nodes for index in node.ran) == list(range(1, len(ids)))
    assert sorted(key for keys in session.by_node() for key in set(keys)) == ["f32/single/cpu", "f64/single/cpu"]


def test_workers_that_collected_different_tests_are_given_none() -> None:
    reports: list[Any] = []
    scheduler = ParityScheduling(config(2), cast(Any, SimpleNamespace(loadsched=lambda *_: None)))
    scheduler.config = cast(
        Any, SimpleNamespace(hook=SimpleNamespace(pytest_collectreport=lambda report: reports.append(report)))
    )
    nodes = [Node("gw0"), Node("gw1")]
    for node, ids in zip(nodes, (parity("f64"), parity("f32")), strict=True):
        scheduler.add_node(cast(Any, node))
        scheduler.add_node_collection(cast(Any, node), ids)
    scheduler.schedule()
    assert not any(node.queue for node in nodes) and len(reports) == 1
