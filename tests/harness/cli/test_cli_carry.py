"""`golden pull` and `push`: what they say, what they refuse, and Ctrl-C, which leaves nothing half there."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paritygate.store.golden import GoldenStore
from paritygate.store.remote import Remote

from toy.remotes import files, fill


@pytest.fixture
def golden(tmp_path: Path) -> GoldenStore:
    return fill(GoldenStore(tmp_path / "golden"), 1.0, "plain", "long")


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    return {"PARITYGATE_REMOTE": str(tmp_path / "bucket")}


def test_there_and_back(paritygate: Callable, golden: GoldenStore, elsewhere: dict[str, str], tmp_path: Path) -> None:
    bucket, other = elsewhere["PARITYGATE_REMOTE"], {"PARITYGATE_GOLDEN": str(tmp_path / "other")}
    said = paritygate("golden", "push", "--dry-run", **elsewhere)
    assert said.code == 0
    assert said.out.splitlines() == [
        "toy/toy-2.long  new  3 objects, 752 bytes",
        "toy/toy-2.plain  new  1 object, 320 bytes",
        f"2 goldens of 2 and 4 objects, 1,072 bytes, would go from {golden.root} to {bucket}; 0 objects were there",
        "next    the same command without --dry-run",
    ]
    assert not Path(bucket).exists()
    said = paritygate("golden", "push", "*long", "--remote", bucket)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "toy/toy-2.long  new  3 objects, 752 bytes",
        f"1 golden of 1 and 3 objects, 752 bytes, went from {golden.root} to {bucket}; 0 objects were there",
        f"next    paritygate golden pull --remote {bucket}",
    ]
    said = paritygate("golden", "push", "--json", **elsewhere)
    assert json.loads(said.out) == {
        "remote": bucket,
        "goldens": {"toy/toy-2.long": "equal", "toy/toy-2.plain": "new"},
        "objects": 1,
        "bytes": 320,
        "there": 3,
        "written": True,
    }
    said = paritygate("golden", "pull", "--quiet", **elsewhere, **other)
    assert said.out.splitlines() == [
        f"2 goldens of 2 and 4 objects, 1,072 bytes, went from {bucket} to {tmp_path}/other; 0 objects were there"
    ]
    assert files(tmp_path / "other") == files(golden.root) == files(Path(bucket))


def test_what_is_given_up_is_asked_for_and_what_is_damaged_comes_again(
    paritygate: Callable, golden: GoldenStore, elsewhere: dict[str, str]
) -> None:
    paritygate("golden", "push", **elsewhere)
    path = golden.objects.path(golden.read("toy", "toy-2.plain").ports[0].tensor.object)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "and 0 objects" in paritygate("golden", "pull", **elsewhere).out
    assert "toy/toy-2.plain  equal  1 object, 320 bytes" in paritygate("golden", "pull", "--verify", **elsewhere).out
    fill(golden, 9.0, "plain")
    for action in ("pull", "push"):
        said = paritygate("golden", action, **elsewhere)
        assert said.code == 3
        assert said.err.startswith("1 of 2 goldens are there already, and are others: ")
    said = paritygate("golden", "push", "--replace", **elsewhere)
    assert "toy/toy-2.plain  replaced  1 object, 320 bytes" in said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pull",), "no remote: golden pull\n  expected  --remote URL, or PARITYGATE_REMOTE\n"),
        (("push", "--remote", "ftp://x"), "remote of an unknown protocol: ftp://x\n"),
        (("pull", "toy-3", "--remote", "{bucket}"), "unknown golden: toy-3\n"),
        (("ls", "--remote", "x"), "only pull and push are with a remote: golden ls\n"),
        (("pull", "--plain-http"), "no remote: golden pull\n"),
        (("ls", "--plain-http"), "only pull and push are with a remote: golden ls\n"),
        (("gc", "--dry-run"), "only pull and push are with a remote: golden gc\n"),
        (("verify", "--verify"), "only pull and push are with a remote: golden verify\n"),
        (("pull", "--against", "x"), "only compare is with another folder: golden pull --against x\n"),
        (("push", "--platform", "gpu"), "only floors are of a platform: push\n"),
        (("ls", "--quiet"), "nothing to be quiet about: golden ls --quiet\n"),
    ],
)
def test_what_makes_no_sense_is_refused(
    paritygate: Callable, golden: GoldenStore, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    bucket = str(tmp_path / "bucket")
    paritygate("golden", "push", "--remote", bucket)
    said = paritygate("golden", *(each.format(bucket=bucket) for each in arguments))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(says)


def test_locked_lets_through_what_changes_nothing_that_is_accepted(
    paritygate: Callable, golden: GoldenStore, elsewhere: dict[str, str]
) -> None:
    for arguments in (("push",), ("pull", "--dry-run"), ("push", "--replace", "--dry-run")):
        assert paritygate("golden", *arguments, "--locked", **elsewhere).code == 0, arguments


def test_a_token_is_in_no_text(paritygate: Callable, golden: GoldenStore) -> None:
    said = paritygate("golden", "pull", "--remote", "https://ada:secret-1@host/x", PARITYGATE_TOKEN="secret-2")
    assert said.code == 2
    assert "secret" not in said.out + said.err
    said = paritygate("golden", "pull", "--remote", "http://host/x", PARITYGATE_TOKEN="secret-2")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("the token would be sent unencrypted: host\n")
    assert "secret" not in said.err


def test_ci_is_told_lines_and_a_pipe_nothing(
    paritygate: Callable, golden: GoldenStore, elsewhere: dict[str, str]
) -> None:
    said = paritygate("golden", "push", **elsewhere, CI="true")
    assert re.search(r"toy/toy-2\.(long|plain)  [\d,]+ of 1,072 bytes\n", said.err)
    assert paritygate("golden", "push", "--replace", **elsewhere).err == ""


def test_ctrl_c_ends_with_130_and_leaves_no_golden_and_no_object_but_whole_ones(
    paritygate: Callable,
    golden: GoldenStore,
    elsewhere: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    paritygate("golden", "push", **elsewhere)
    other, whole = GoldenStore(tmp_path / "other"), Remote.stream
    name = golden.read("toy", "toy-2.plain").ports[0].tensor.object

    def stopped(self: Remote, path: str, start: int = 0) -> Iterator[Any]:
        for chunk in whole(self, path, start):
            yield chunk[:100]
            if name in path:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)  # the answer of a server, which nobody waits for
            yield chunk[100:]

    monkeypatch.setattr(Remote, "stream", stopped)
    said = paritygate("golden", "pull", **elsewhere, PARITYGATE_GOLDEN=str(other.root))
    assert (said.code, said.out, said.err) == (130, "", "interrupted\n")
    assert other.suites() == []
    assert all(not other.objects.check(each) for each in other.objects.names())
    assert [len(content) for path, content in files(other.root).items() if name in path] == [100]
    monkeypatch.setattr(Remote, "stream", whole)
    assert paritygate("golden", "pull", **elsewhere, PARITYGATE_GOLDEN=str(other.root)).code == 0
    assert files(other.root) == files(golden.root)
