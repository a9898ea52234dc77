"""`golden pull` and `push`: goldens between the store and a remote. Objects go first and manifests last.

So whoever reads meanwhile never sees a manifest whose objects are not there. An object is named by its hash and never
changes: one that is there with its size is not sent again. What was killed in the middle goes on where it ended: a pull
in the part of an object, a push with the next one.
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from paritygate.core.errors import GoldenError, InfrastructureError, UsageError, unknown_name
from paritygate.core.golden import Golden
from paritygate.core.progress import SILENT, Doing, Piece, Progress
from paritygate.core.run import sync_folder, write_atomic
from paritygate.core.transfer import Change, Differing, There, Transfer
from paritygate.store.golden import GoldenStore, parse, uses
from paritygate.store.objects import size_of
from paritygate.store.remote import LostError, Remote, chunks_of, golden_path, object_path

THREADS = 8
WAITS_S = (0.5, 1.0, 2.0, 4.0)  # before each further try of what a connection lost
LEAVE_S = 2.0  # that threads have to end what they are at; a part goes on another time
MANIFEST_BYTES = 64 * 2**20  # the largest of ours has 1 MB
SHOWN = 5

T = TypeVar("T")
R = TypeVar("R")
Goldens = Mapping[str, tuple[bytes, Golden]]  # by SUITE/CASE


class _StoppedError(Exception):
    """Another thread failed, or somebody pressed Ctrl-C."""


def plan_pull(
    store: GoldenStore, remote: Remote, select: str = "", *, differing: Differing = "refuse", there: There = "size"
) -> Transfer:
    """What the store lacks of the goldens of a remote; nothing is written.

    Raises GoldenError where a manifest of the remote is damaged, or names what could not be an object.
    """
    known = _patiently(lambda: {suite: remote.cases(suite) for suite in remote.suites()}, threading.Event())
    names = _chosen(known, select, remote.url)

    def read(name: str, stop: threading.Event) -> tuple[bytes, Golden]:
        suite, _, case = name.partition("/")
        path = golden_path(suite, case)
        content = _patiently(lambda: remote.read(path, MANIFEST_BYTES), stop)
        return content, parse(content, case, f"{remote.url}/{path}")

    def here(sizes: Mapping[str, int]) -> set[str]:
        whole = [name for name, size in sizes.items() if _size(store.objects.path(name)) == size]
        if there == "size":
            return set(whole)
        problems = _side_by_side(lambda name, stop: store.objects.check(name), whole)
        return {name for name, problem in zip(whole, problems, strict=True) if not problem}

    def ours(name: str) -> bytes | None:
        try:
            return store.path(*name.split("/")).read_bytes()
        except FileNotFoundError:
            return None

    goldens = dict(zip(names, _side_by_side(read, names), strict=True))
    return _planned(goldens, {name: ours(name) for name in names}, here, differing, str(store.root))


def plan_push(
    store: GoldenStore, remote: Remote, select: str = "", *, differing: Differing = "refuse", there: There = "size"
) -> Transfer:
    """What a remote lacks of the goldens of the store; nothing is written."""
    remote.require_writable()
    names = _chosen({suite: store.cases(suite) for suite in store.suites()}, select, str(store.root))
    goldens: dict[str, tuple[bytes, Golden]] = {}
    for name in names:
        suite, _, case = name.partition("/")
        golden_path(suite, case)  # refuses a name that no pull would take
        content = store.path(suite, case).read_bytes()
        goldens[name] = content, parse(content, case, str(store.path(suite, case)))
    suites = {name.partition("/")[0] for name in names}
    known = _patiently(lambda: {suite: set(remote.cases(suite)) for suite in suites}, threading.Event())

    def read(name: str, stop: threading.Event) -> bytes | None:
        suite, _, case = name.partition("/")
        path = golden_path(suite, case)
        return _patiently(lambda: remote.read(path, MANIFEST_BYTES), stop) if case in known[suite] else None

    def sizes_in(folder: str, stop: threading.Event) -> dict[str, int]:
        return _patiently(lambda: remote.sizes(f"objects/{folder}"), stop)

    def is_whole(item: tuple[str, int], stop: threading.Event) -> bool:
        name, size = item
        return _patiently(lambda: _digest(remote.stream(object_path(name)), size, stop), stop) == name

    def there_already(sizes: Mapping[str, int]) -> set[str]:
        folders, found = sorted({name[:2] for name in sizes}), dict[str, int]()
        for listed in _side_by_side(sizes_in, folders):
            found |= {file.partition(".")[0]: size for file, size in listed.items() if file.endswith(".safetensors")}
        whole = [(name, size) for name, size in sizes.items() if found.get(name) == size]
        if there == "content":
            sound = _side_by_side(is_whole, whole)
            whole = [item for item, good in zip(whole, sound, strict=True) if good]
        return {name for name, _ in whole}

    others = dict(zip(names, _side_by_side(read, names), strict=True))
    return _planned(goldens, others, there_already, differing, remote.url)


def pull(
    store: GoldenStore,
    remote: Remote,
    select: str = "",
    *,
    differing: Differing = "refuse",
    there: There = "size",
    progress: Progress = SILENT,
) -> Transfer:
    """Fetches what `plan_pull` says, alone in the store.

    Raises GoldenError where what comes is not what its name says, which is not kept, and InfrastructureError where
    there is no room.
    """
    with store.lock(exclusive=True):
        transfer = plan_pull(store, remote, select, differing=differing, there=there)
        _take(transfer, store, remote, progress)
    return transfer


def push(
    store: GoldenStore,
    remote: Remote,
    select: str = "",
    *,
    differing: Differing = "refuse",
    there: There = "size",
    progress: Progress = SILENT,
) -> Transfer:
    """Sends what `plan_push` says. Raises GoldenError where an object is damaged here, and sends no such object."""
    with store.lock(exclusive=False):
        transfer = plan_push(store, remote, select, differing=differing, there=there)
        _give(transfer, store, remote, progress)
    return transfer


def _take(transfer: Transfer, store: GoldenStore, remote: Remote, progress: Progress) -> None:
    folder = next(f for f in (store.root, *store.root.absolute().parents) if f.is_dir())
    free = shutil.disk_usage(folder).free
    if transfer.objects_bytes > free:
        raise InfrastructureError(
            "no room for these goldens",
            where=str(store.root),
            expected=f"{transfer.objects_bytes:,} bytes",
            got=f"{free:,} bytes free",
            try_="some of them: paritygate golden pull SUITE, or a CASE",
        )

    def fetch(item: tuple[str, str, int], stop: threading.Event) -> None:
        golden, name, size = item
        progress.at(0, Doing(case=golden, site=name[:12]))
        _fetch(store, remote, name, size, stop, lambda count: progress.done(0, "", golden, count))

    _side_by_side(fetch, _in_order(transfer, progress))
    for name, content in transfer.manifests.items():
        write_atomic(store.path(*name.split("/")), content)


def _give(transfer: Transfer, store: GoldenStore, remote: Remote, progress: Progress) -> None:
    def send(item: tuple[str, str, int], stop: threading.Event) -> None:
        golden, name, size = item
        progress.at(0, Doing(case=golden, site=name[:12]))
        if problem := store.objects.check(name):
            raise GoldenError(
                f"object is {problem}",
                where=str(store.objects.path(name)),
                try_="paritygate golden verify, then git checkout, pull --verify or capture",
            )
        _patiently(lambda: remote.put(store.objects.path(name), object_path(name)), stop)
        progress.done(0, "", golden, size)

    _side_by_side(send, _in_order(transfer, progress))
    idle = threading.Event()
    for name, content in transfer.manifests.items():
        path = golden_path(*name.split("/"))
        _patiently(lambda path=path, content=content: remote.put(content, path), idle)


def _chosen(known: Mapping[str, Iterable[str]], select: str, where: str) -> list[str]:
    """The goldens as `SUITE/CASE` that a suite, a case or a glob over either names; all of them if left out."""
    every = [f"{suite}/{case}" for suite, cases in known.items() for case in cases]
    if not every:
        raise UsageError("no goldens there", where=where, try_="another folder or URL: one that holds SUITE/CASE.json")
    found = [n for n in every if not select or any(fnmatchcase(part, select) for part in (n, *n.split("/")))]
    if not found:
        raise unknown_name("golden", select, sorted({*known, *(name.partition("/")[2] for name in every)}))
    return found


def _planned(
    goldens: Goldens,
    others: Mapping[str, bytes | None],
    already: Callable[[Mapping[str, int]], set[str]],
    differing: Differing,
    where: str,
) -> Transfer:
    changes: dict[str, Change] = {}
    for name, (content, _) in goldens.items():
        other = others[name]
        changes[name] = "new" if other is None else "equal" if other == content else "replaced"
    replaced = [name for name, change in changes.items() if change == "replaced"]
    if replaced and differing == "refuse":
        more = [f"and {len(replaced) - SHOWN} more"] * (len(replaced) > SHOWN)
        raise GoldenError(
            f"{len(replaced)} of {len(changes)} goldens are there already, and are others",
            where=where,
            expected="the same golden, or none",
            got="\n            ".join([*replaced[:SHOWN], *more]),
            try_="--replace, where those there are to be given up",
        )
    sizes: dict[str, int] = {}
    company: dict[str, dict[str, int]] = {}
    for name, (_, golden) in goldens.items():
        company[name] = {}
        for each, size in _needed(golden, name).items():
            if sizes.setdefault(each, size) != size:
                raise GoldenError("goldens disagree on an object", where=f"{name}: {each}")
            company[name][each] = size
    there, taken = already(sizes), set[str]()
    for needed in company.values():
        for each in list(needed):
            if each in there or each in taken:
                del needed[each]
        taken |= set(needed)
    manifests = {name: content for name, (content, _) in goldens.items() if changes[name] != "equal"}
    return Transfer(changes, manifests, {name: needed for name, needed in company.items() if needed}, len(there))


def _needed(golden: Golden, name: str) -> dict[str, int]:
    """The bytes of each object that a golden names. Raises GoldenError on a name or a tensor that cannot be."""
    found: dict[str, int] = {}
    for use, ref in uses(golden):
        object_path(ref.object)
        try:
            size = size_of(ref)
        except ValueError as reason:
            raise GoldenError("golden names what is no object", where=f"{name}: {use}"[:200], got=str(reason)) from None
        if found.setdefault(ref.object, size) != size:
            raise GoldenError("golden names one object as two", where=f"{name}: {use}"[:200])
    return found


def _in_order(transfer: Transfer, progress: Progress) -> list[tuple[str, str, int]]:
    """Every object that goes with its golden, and progress told of them."""
    items = [(golden, name, size) for golden, sizes in transfer.objects.items() for name, size in sizes.items()]
    pieces = [Piece("", golden, sum(size for *_, size in of)) for golden, of in groupby(items, lambda item: item[0])]
    progress.planned([pieces], noun="bytes")
    return items


def _fetch(
    store: GoldenStore,
    remote: Remote,
    name: str,
    size: int,
    stop: threading.Event,
    came: Callable[[int], None],
) -> None:
    """One object: what an earlier pull left of it is hashed again, and the rest is hashed as it comes."""
    path = store.objects.path(name)
    part = path.with_name(f".{path.name}.part.tmp")
    part.parent.mkdir(parents=True, exist_ok=True)
    digest, have = hashlib.sha256(), 0

    def take(chunk: bytes) -> None:
        nonlocal have
        digest.update(chunk)
        have += len(chunk)
        came(len(chunk))

    def go_on() -> None:
        for chunk in remote.stream(object_path(name), have) if have < size else ():
            if stop.is_set():
                raise _StoppedError
            if have + len(chunk) > size:
                raise _wrong(remote, name, f"{size:,} bytes", "more")
            file.write(chunk)
            take(chunk)

    with _naming(part), part.open("a+b") as file:
        if file.tell() > size:
            file.truncate(0)
        for chunk in chunks_of(part):
            take(chunk)
        try:
            _patiently(go_on, stop)
            if have < size:
                raise _wrong(remote, name, f"{size:,} bytes", f"{have:,} bytes")
            if digest.hexdigest() != name:
                raise _wrong(remote, name, f"sha256 {name[:16]}…", f"sha256 {digest.hexdigest()[:16]}…")
        except GoldenError:
            part.unlink()
            raise
        file.flush()
        os.fsync(file.fileno())
        os.replace(part, path)
    sync_folder(path.parent)


def _wrong(remote: Remote, name: str, expected: str, got: str) -> GoldenError:
    return GoldenError(
        "object of the remote is not what its name says; nothing of it was kept",
        where=f"{remote.url}/{object_path(name)}",
        expected=expected,
        got=got,
        try_="the same command, which begins this object anew; then golden push --verify from a store that is whole",
    )


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A full disk does not say of which file it is."""
    try:
        yield
    except OSError as reason:
        if reason.filename is not None:
            raise
        raise OSError(reason.errno, reason.strerror or str(reason), str(path)) from reason


def _digest(chunks: Iterable[bytes], most_bytes: int, stop: threading.Event) -> str:
    """The sha256 of no more than may come; empty where more does."""
    digest, have = hashlib.sha256(), 0
    for chunk in chunks:
        if stop.is_set():
            raise _StoppedError
        have += len(chunk)
        if have > most_bytes:
            return ""
        digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _patiently(do: Callable[[], R], stop: threading.Event) -> R:
    """Tries again what a connection lost, a bounded number of times."""
    for wait_s in WAITS_S:
        with contextlib.suppress(LostError):
            return do()
        if stop.wait(wait_s):
            raise _StoppedError
    return do()


def _side_by_side(do: Callable[[T, threading.Event], R], items: Iterable[T]) -> list[R]:
    """What each item gives, in their order, from a few threads; the first failure stops all and is raised.

    Daemons: one that waits for a server must not keep Ctrl-C waiting, and what it leaves is a part.
    """
    todo, done, stop = SimpleQueue[tuple[int, T]](), SimpleQueue[tuple[int, R] | BaseException](), threading.Event()
    count = 0
    for count, item in enumerate(items, 1):
        todo.put((count, item))

    def work() -> None:
        while not stop.is_set():
            try:
                number, item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((number, do(item, stop)))
            except BaseException as reason:
                done.put(reason)  # before the others end for it
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, count))]
    found: dict[int, R] = {}
    try:
        for thread in threads:
            thread.start()
        for _ in range(count):
            ended = done.get()
            if isinstance(ended, BaseException):
                raise ended
            found[ended[0]] = ended[1]
    finally:
        stop.set()
        until = time.monotonic() + LEAVE_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    return [found[number] for number in sorted(found)]
