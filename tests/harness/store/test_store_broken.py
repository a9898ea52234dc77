"""Transfers that break on the way: they go on where they ended, and believe nothing that they find there."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paritygate.core.errors import GoldenError, InfrastructureError
from paritygate.store import remote as remotes
from paritygate.store import threads
from paritygate.store.golden import GoldenStore
from paritygate.store.remote import Remote, open_remote
from paritygate.store.transfer import pull, push

from toy.remotes import Bent, Memory, files, fill


def part_of(store: GoldenStore, name: str) -> Path:
    path = store.objects.path(name)
    return path.with_name(f".{path.name}.part.tmp")


def value_of(store: GoldenStore, case: str = "toy-2.plain") -> str:
    """The object of the one port of a case."""
    return store.read("toy", case).ports[0].tensor.object


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
    assert sum(name in path for what, path in memory.done if what == "read") == 1 + len(threads.WAITS_S)
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
