"""Goldens to a remote and back: whole, in order, once; what breaks goes on, and what is wrong is refused."""

import hashlib
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paritygate.core.errors import GoldenError, InfrastructureError, UsageError
from paritygate.core.progress import Piece, Progress
from paritygate.store import remote as remotes
from paritygate.store import threads, transfer
from paritygate.store.golden import GoldenStore
from paritygate.store.remote import Remote, open_remote
from paritygate.store.transfer import plan_pull, plan_push, pull, push

from toy.remotes import Bent, Memory, files, fill


def part_of(store: GoldenStore, name: str) -> Path:
    path = store.objects.path(name)
    return path.with_name(f".{path.name}.part.tmp")


def value_of(store: GoldenStore, case: str = "toy-2.plain") -> str:
    """The object of the one port of a case."""
    return store.read("toy", case).ports[0].tensor.object


# There and back


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_what_is_pulled_is_what_was_pushed_byte_for_byte(
    here: GoldenStore, there: GoldenStore, remote: Remote, tmp_path: Path, kind: str
) -> None:
    between = remote if kind == "memory" else open_remote(f"file://{tmp_path}/between")
    sent, come = push(here, between), pull(there, between)
    assert files(there.root) == files(here.root)
    assert sent == come
    assert sent.changes == {"toy/toy-2.long": "new", "toy/toy-2.plain": "new"}
    assert (sent.objects_n, sent.there) == (4, 0)  # two ports, and the weights and tokens that both share, once
    assert sent.objects_bytes == sum(here.objects.path(name).stat().st_size for name in here.objects.names())
    assert there.verify() == []


def test_what_is_there_does_not_go_again(here: GoldenStore, there: GoldenStore, remote: Remote, memory: Memory) -> None:
    push(here, remote)
    pull(there, remote)
    memory.done.clear()
    again = push(here, remote), pull(there, remote)
    assert {(each.objects_n, len(each.manifests), each.there) for each in again} == {(0, 0, 4)}
    assert not [path for what, path in memory.done if what == "write" or ("objects" in path and what == "read")]


def test_objects_go_first_and_manifests_last(here: GoldenStore, remote: Remote, memory: Memory) -> None:
    push(here, remote)
    written = ["objects" in path for what, path in memory.done if what == "write"]
    assert written == [True] * 4 + [False] * 2


def test_a_manifest_is_written_after_its_objects(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    lost = here.objects.path(value_of(here)).relative_to(here.root)
    remote._fs.rm(f"/goldens/{lost}")
    with pytest.raises(GoldenError, match="remote has no such file"):
        pull(there, remote)
    assert not there.suites()


@pytest.mark.parametrize("select", ["toy-2.long", "toy/toy-2.long", "*long"])
def test_a_case_or_a_glob_is_enough(here: GoldenStore, there: GoldenStore, remote: Remote, select: str) -> None:
    assert list(push(here, remote, select).changes) == ["toy/toy-2.long"]
    push(here, remote)
    assert list(pull(there, remote, select).changes) == ["toy/toy-2.long"]
    assert there.cases("toy") == ["toy-2.long"]
    assert len(there.objects.names()) == 3


def test_a_name_that_is_not_there_says_what_is(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    for plan in (plan_push(here, remote, "toy"), plan_pull(there, remote, "toy")):
        assert len(plan.changes) == 2
    with pytest.raises(UsageError, match=r"unknown golden: toy-2\.lang") as caught:
        plan_pull(there, remote, "toy-2.lang")
    assert caught.value.try_.startswith("did you mean toy-2.long")


def test_a_remote_without_goldens_says_so(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    with pytest.raises(UsageError, match="no goldens there: memory://goldens"):
        pull(here, remote)
    with pytest.raises(UsageError, match=f"no goldens there: {there.root}"):
        push(there, remote)


def test_a_plan_writes_nothing(here: GoldenStore, there: GoldenStore, remote: Remote, memory: Memory) -> None:
    assert plan_push(here, remote).objects_n == 4
    assert not memory.store
    push(here, remote)
    assert plan_pull(there, remote).objects_n == 4
    assert not there.root.exists()


# Goldens that are others


def test_another_golden_is_given_up_only_where_that_is_said(
    here: GoldenStore, there: GoldenStore, remote: Remote
) -> None:
    push(here, remote)
    fill(there, 7.0, "plain")
    before, old = files(there.root), value_of(there)
    for refused in (lambda: pull(there, remote), lambda: push(there, remote)):
        with pytest.raises(GoldenError, match="goldens are there already, and are others") as caught:
            refused()
        assert caught.value.got == "toy/toy-2.plain"
        assert "--replace" in caught.value.try_
    assert files(there.root) == before
    assert pull(there, remote, differing="replace").changes["toy/toy-2.plain"] == "replaced"
    assert value_of(there) == value_of(here)
    assert there.gc() == [old]  # what no manifest names any more is not the pull's to remove
    assert files(there.root) == files(here.root)
    fill(there, 8.0, "plain")
    assert push(there, remote, "*plain", differing="replace").changes == {"toy/toy-2.plain": "replaced"}
    assert plan_pull(here, remote, "*plain", differing="replace").objects_n == 1


# What is damaged


def test_size_is_enough_unless_content_is_asked_for(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    pull(there, remote)
    name = value_of(here)
    path = there.objects.path(name)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    assert plan_pull(there, remote).objects_n == 0
    assert pull(there, remote, there="content").objects_n == 1
    assert path.read_bytes() == good
    path.write_bytes(good[:-1])  # of another size it is not there
    assert pull(there, remote).objects_n == 1
    assert there.verify() == []
    at = f"/goldens/{path.relative_to(there.root)}"
    remote._fs.pipe_file(at, good[:-1] + b"x")
    assert plan_push(here, remote).objects_n == 0
    assert push(here, remote, there="content").objects_n == 1
    assert remote._fs.cat_file(at) == good


def test_a_damaged_object_is_not_pushed(here: GoldenStore, remote: Remote, memory: Memory) -> None:
    path = here.objects.path(value_of(here))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(GoldenError, match="object is corrupt") as caught:
        push(here, remote)
    assert str(path) in caught.value.where
    assert not [name for name in memory.store if value_of(here) in name or name.endswith(".json")]


WRONG = {
    "garbage": (lambda chunk, at: b"x" * len(chunk), "sha256"),
    "too much": (lambda chunk, at: chunk + b"x", "more"),
    "endless": (lambda chunk, at: b"x" * 1024, "more"),
    "too little": (lambda chunk, at: chunk[:100] if not at else b"", "100 bytes"),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_not_the_object_is_refused_and_not_kept(
    here: GoldenStore, there: GoldenStore, remote: Remote, memory: Memory, how: str
) -> None:
    push(here, remote)
    give, got = WRONG[how]
    name = value_of(here)
    memory.opened = lambda path, file: Bent(file, give) if name in path else file
    with pytest.raises(GoldenError, match="object of the remote is not what its name says") as caught:
        pull(there, remote)
    assert name in caught.value.where
    assert got in caught.value.got
    assert not there.suites()
    assert not part_of(there, name).exists()
    assert name not in there.objects.names()
    memory.opened = memory.bent
    pull(there, remote)  # and then it is as if nothing had been
    assert files(there.root) == files(here.root)


def test_more_than_a_manifest_can_be_is_not_read(
    here: GoldenStore, there: GoldenStore, remote: Remote, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(here, remote)
    taken = 0

    def endless(chunk: bytes, at: int) -> bytes:
        nonlocal taken
        taken += 1000
        return b" " * 1000

    memory.opened = lambda path, file: Bent(file, endless)
    monkeypatch.setattr(transfer, "MANIFEST_BYTES", 5000)
    with pytest.raises(GoldenError, match="remote sends too much"):
        plan_pull(there, remote, "*plain")
    assert taken == 6000


# Room, memory, order, company


def test_without_room_nothing_begins(
    here: GoldenStore, there: GoldenStore, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(here, remote)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(InfrastructureError, match="no room for these goldens") as caught:
        pull(there, remote)
    assert caught.value.got == "1,000 bytes free"
    assert files(there.root) == {}


def test_a_full_disk_says_of_which_file(
    here: GoldenStore, there: GoldenStore, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    push(here, remote)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        pull(there, remote)
    assert str(caught.value.filename).endswith(".part.tmp")


def test_memory_is_of_chunks_and_not_of_objects(
    tmp_path: Path, there: GoldenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fill(GoldenStore(tmp_path / "here"), values=2**20)  # 8 MiB
    monkeypatch.setattr(remotes, "CHUNK_BYTES", 2**16)
    url = f"file://{tmp_path}/between"
    open_remote(url)  # imports
    tracemalloc.start()
    try:
        push(here, open_remote(url))
        pull(there, open_remote(url))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**21
    assert there.verify() == []


def test_a_pull_is_alone_in_a_store_and_a_push_is_not(here: GoldenStore, remote: Remote) -> None:
    with here.lock(exclusive=False):
        push(here, remote)
        with pytest.raises(GoldenError, match="golden store is in use"):
            pull(here, remote)


def test_gc_removes_what_a_killed_pull_left(here: GoldenStore) -> None:
    part = part_of(here, "ab" * 32)
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"half")
    assert here.gc() == []
    assert not part.exists()


class Told(Progress):
    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.counts: dict[str, int] = {}
        self.noun = ""
        self._lock = threading.Lock()

    def planned(self, jobs: Any, workers: int = 1, noun: str = "values", done: int = 0, of: str = "") -> None:
        self.pieces, self.noun = [piece for job in jobs for piece in job], noun

    def done(self, worker: int, cell: str, case: str, count: int = 1) -> None:
        with self._lock:
            self.counts[case] = self.counts.get(case, 0) + count


def test_progress_is_told_every_byte_of_every_golden(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    for carry, store in ((push, here), (pull, there)):
        told = Told()
        done = carry(store, remote, progress=told)
        assert told.noun == "bytes"
        assert {piece.case: piece.size for piece in told.pieces} == told.counts
        assert sum(told.counts.values()) == done.objects_bytes


def test_the_first_failure_stops_the_others() -> None:
    began, held = list[int](), threading.Event()

    def do(number: int, stop: threading.Event) -> None:
        began.append(number)
        if number == 3:
            raise ValueError(number)
        if number < threads.THREADS:
            stop.wait(60)
            held.set()

    with pytest.raises(ValueError, match="3"):
        threads.side_by_side(do, range(1000))
    assert held.is_set()
    assert len(began) < 100


def test_ctrl_c_before_all_threads_have_begun_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, start = list[threading.Thread](), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise KeyboardInterrupt
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads.side_by_side(lambda number, stop: number, range(100))
    assert not [thread for thread in begun if thread.is_alive()]


def test_the_name_of_a_pulled_object_is_the_hash_of_its_file(
    there: GoldenStore, here: GoldenStore, remote: Remote
) -> None:
    push(here, remote)
    pull(there, remote)
    for name in there.objects.names():
        assert hashlib.sha256(there.objects.path(name).read_bytes()).hexdigest() == name
    np.testing.assert_array_equal(there.tensor(there.read("toy", "toy-2.plain").ports[0].tensor), np.ones(24))
