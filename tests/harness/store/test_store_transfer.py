"""Goldens to a remote and back: whole, in order, once; what breaks goes on, and what is wrong is refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paritygate.core.codec import canonical, from_json
from paritygate.core.errors import GoldenError, HarnessError, InfrastructureError, UsageError
from paritygate.core.golden import Golden
from paritygate.core.progress import Piece, Progress
from paritygate.store import remote as remotes
from paritygate.store import transfer
from paritygate.store.golden import GoldenStore, parse
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


# What breaks on the way


def breaking(after: int, times: int) -> Any:
    """A connection that is lost once `after` bytes came, for so many times."""
    left = [times]

    def give(chunk: bytes, at: int) -> bytes:
        if at + len(chunk) > after and left[0]:
            left[0] -= 1
            raise ConnectionResetError("the other side is gone")
        return chunk

    return give


@given(after=st.integers(0, 4000), times=st.integers(0, 3), chunk=st.integers(1, 1500))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_connection_that_breaks_anywhere_goes_on(
    tmp_path_factory: pytest.TempPathFactory, after: int, times: int, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("breaking")
    here, there, memory = fill(GoldenStore(folder / "a"), values=400), GoldenStore(folder / "b"), Memory()
    remote = Remote("memory://goldens", "memory", memory, "/goldens")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remotes, "CHUNK_BYTES", chunk)
        push(here, remote)
        give, name = breaking(after, times), value_of(here)
        memory.opened = lambda path, file: Bent(file, give) if name in path else file
        pull(there, remote)
    assert files(there.root) == files(here.root)


def test_what_stays_broken_ends_with_what_to_do_and_goes_on_another_time(
    here: GoldenStore, there: GoldenStore, remote: Remote, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotes, "CHUNK_BYTES", 64)
    push(here, remote)
    name, starts = value_of(here), list[int]()
    memory.opened = lambda path, file: Bent(file, breaking(150, 99)) if name in path else file
    with pytest.raises(InfrastructureError, match="remote cannot be read") as caught:
        pull(there, remote)
    assert caught.value.got == "ConnectionResetError: the other side is gone"
    assert caught.value.try_ == "the same command again: it goes on where this one ended"
    assert sum(name in path for what, path in memory.done if what == "read") == 1 + len(transfer.WAITS_S)
    left = part_of(there, name).read_bytes()
    assert left == here.objects.path(name).read_bytes()[: len(left)]
    assert len(left) == 128

    def noted(chunk: bytes, at: int) -> bytes:
        starts.append(at)
        return chunk

    memory.opened = lambda path, file: Bent(file, noted) if name in path else file
    pull(there, remote)
    assert starts[0] == len(left)
    assert files(there.root) == files(here.root)


@pytest.mark.parametrize("kind", ["wrong", "longer", "whole"])
def test_a_part_that_is_there_is_hashed_and_never_believed(
    here: GoldenStore, there: GoldenStore, remote: Remote, kind: str
) -> None:
    push(here, remote)
    name = value_of(here)
    content, part = here.objects.path(name).read_bytes(), part_of(there, name)
    part.parent.mkdir(parents=True)
    part.write_bytes({"wrong": b"x" * 50, "longer": content + b"x", "whole": content}[kind])
    if kind == "wrong":
        with pytest.raises(GoldenError, match="nothing of it was kept"):
            pull(there, remote)
        assert not part.exists()
    pull(there, remote)
    assert files(there.root) == files(here.root)


def test_a_push_that_breaks_sends_the_rest_another_time(here: GoldenStore, remote: Remote, memory: Memory) -> None:
    memory.told = [OSError("busy")] * 3  # while it looks at what is there
    push(here, remote)
    once = memory.done.copy()
    fill(here, 5.0, "wide")
    memory.done.clear()
    push(here, remote)
    assert len([path for what, path in memory.done if what == "write"]) == 2
    assert len([path for what, path in once if what == "write"]) == 6


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path[:0] = {path!r}
    from paritygate.store import remote as remotes
    from paritygate.store.golden import GoldenStore
    from paritygate.store.remote import Remote, open_remote
    from paritygate.store.transfer import pull

    remotes.CHUNK_BYTES = 1000
    whole = Remote.stream

    def slow(self, path, start=0):
        for number, chunk in enumerate(whole(self, path, start)):
            yield chunk
            if {name!r} in path and number == 2:
                print("ready", flush=True)
                time.sleep(600)

    Remote.stream = slow
    pull(GoldenStore(Path({root!r})), open_remote({url!r}))
"""


def test_a_pull_that_is_killed_goes_on_in_its_part(
    tmp_path: Path, there: GoldenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, url = fill(GoldenStore(tmp_path / "here"), values=2000), f"file://{tmp_path}/between"
    push(here, open_remote(url))
    name = value_of(here)
    script = textwrap.dedent(KILLED).format(path=sys.path, name=name, root=str(there.root), url=url)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    child.stdout.close()
    assert there.suites() == []  # no manifest, and no object but whole ones
    assert all(not there.objects.check(each) for each in there.objects.names())
    left = part_of(there, name).stat().st_size if part_of(there, name).exists() else 0
    assert left % 1000 == 0
    starts = list[int]()
    whole = Remote.stream

    def noted(self: Remote, path: str, start: int = 0) -> Any:
        if name in path:
            starts.append(start)
        return whole(self, path, start)

    monkeypatch.setattr(Remote, "stream", noted)
    pull(there, open_remote(url))
    assert starts == [left]
    assert files(there.root) == files(here.root)


# Manifests from a stranger


def changed(store: GoldenStore, **change: Any) -> bytes:
    """A manifest whose digest is right, whatever else it says."""
    data = json.loads(store.path("toy", "toy-2.plain").read_text())
    port = data["ports"][0]
    for key, value in change.items():
        (data["case"] if key in data["case"] else port["tensor"] if key in port["tensor"] else data)[key] = value
    golden = from_json(Golden, data)
    return canonical(replace(golden, digest=golden.content_digest())).encode()


HOSTILE = {
    "climbing object": ({"object": "../../../../etc/passwd"}, "name that no object can have"),
    "absolute object": ({"object": "/etc/passwd"}, "name that no object can have"),
    "object in capitals": ({"object": "A" * 64}, "name that no object can have"),
    "object and a line": ({"object": "a" * 64 + "\n"}, "name that no object can have"),
    "unknown dtype": ({"dtype": "object"}, "golden names what is no object"),
    "negative shape": ({"shape": [-1, -8]}, "golden names what is no object"),
    "endless shape": ({"shape": [2**62] * 3}, "no room for these goldens"),
    "many axes": ({"shape": [10**4000] * 100}, "golden names what is no object"),
    "another case": ({"prompt": "other"}, "was changed after it was captured"),
    "climbing case": ({"prompt": "/../../x"}, "was changed after it was captured"),
    "another format": ({"format": 2}, "golden of another format"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_manifest_is_refused_before_anything_is_written(
    here: GoldenStore, there: GoldenStore, remote: Remote, how: str
) -> None:
    change, says = HOSTILE[how]
    push(here, remote)
    remote._fs.pipe_file("/goldens/toy/toy-2.plain.json", changed(here, **change))
    fill(there, 1.0, "other")
    before = files(there.root)
    with pytest.raises(HarnessError, match=says):
        pull(there, remote)
    assert files(there.root) == before


def test_one_object_of_two_sizes_is_refused(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    name = here.read("toy", "toy-2.plain").weights["head.weight"].object
    remote._fs.pipe_file("/goldens/toy/toy-2.plain.json", changed(here, object=name))
    with pytest.raises(GoldenError, match="golden names one object as two"):
        pull(there, remote)
    tokens = here.read("toy", "toy-2.long").ports[0].tensor.object
    remote._fs.pipe_file("/goldens/toy/toy-2.plain.json", changed(here, object=tokens, shape=[25]))
    with pytest.raises(GoldenError, match="goldens disagree on an object"):
        pull(there, remote)


def test_names_that_are_no_goldens_are_passed_over(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    for path in ("toy/.hidden.json", "toy/a b.json", "toy/notes.txt", "objects/x.json", "baselines/a.b.json", "x.json"):
        remote._fs.pipe_file(f"/goldens/{path}", b"{}")
    assert len(pull(there, remote).changes) == 2


def test_a_name_that_no_pull_would_take_is_not_pushed(there: GoldenStore, remote: Remote) -> None:
    fill(there, 1.0, "a b")
    with pytest.raises(GoldenError, match=r"name that no golden of a remote can have: toy/toy-2\.a b"):
        push(there, remote)


ANY_JSON = st.sampled_from(
    [
        None,
        True,
        -1,
        10**400,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        "../x",
        "\0",
        "\ud800",
        [],
        [[]],
        {},
        {"": None},
    ]
)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_manifest_is_it_is_a_golden_or_a_golden_error(data: st.DataObject) -> None:
    whole = json.loads(MANIFEST)
    kind = data.draw(st.sampled_from(["bytes", "cut", "value"]))
    if kind == "bytes":
        content = data.draw(st.binary(max_size=60))
    elif kind == "cut":
        content = MANIFEST[: data.draw(st.integers(0, len(MANIFEST) - 1))]
    else:
        at = whole
        while isinstance(at, dict | list) and at and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            at, above = at[key], at
            above[key] = data.draw(ANY_JSON) if not isinstance(at, dict | list) or not at else at
        content = json.dumps(whole).encode()
    try:
        assert parse(content, "toy-2.plain", "x").case.id == "toy-2.plain"
    except GoldenError as refused:
        assert refused.exit_code == 3


def test_nesting_without_an_end_is_refused() -> None:
    deep = "[" * 100_000
    for content in (deep, MANIFEST.decode().replace('"width": 4', f'"width": {deep}')):
        with pytest.raises(GoldenError, match="cannot be read"):
            parse(content.encode(), "toy-2.plain", "x")


@pytest.fixture(scope="module", autouse=True)
def _manifest(tmp_path_factory: pytest.TempPathFactory) -> None:
    global MANIFEST
    store = fill(GoldenStore(tmp_path_factory.mktemp("manifest")))
    MANIFEST = store.path("toy", "toy-2.plain").read_bytes()


MANIFEST = b""


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
        if number < transfer.THREADS:
            stop.wait(60)
            held.set()

    with pytest.raises(ValueError, match="3"):
        transfer._side_by_side(do, range(1000))
    assert held.is_set()
    assert len(began) < 100


def test_the_name_of_a_pulled_object_is_the_hash_of_its_file(
    there: GoldenStore, here: GoldenStore, remote: Remote
) -> None:
    push(here, remote)
    pull(there, remote)
    for name in there.objects.names():
        assert hashlib.sha256(there.objects.path(name).read_bytes()).hexdigest() == name
    np.testing.assert_array_equal(there.tensor(there.read("toy", "toy-2.plain").ports[0].tensor), np.ones(24))
