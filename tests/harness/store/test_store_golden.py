"""Manifests: verify names what a damaged object serves, gc keeps what is named, and a kill loses nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from paritygate.core.cell import Mode
from paritygate.core.codec import readable
from paritygate.core.errors import GoldenError
from paritygate.core.family import Case
from paritygate.core.golden import Golden, GoldenPort
from paritygate.core.site import Kind
from paritygate.store.golden import GoldenStore


def golden(store, value=1.0):
    port = GoldenPort("head", "out", 0, Kind.FLOAT, "B T V", 0, store.put(np.full((2, 3, 4), value)), tuple(Mode))
    return Golden(
        Case("toy", "toy-2", "plain"),
        {"width": 4},
        {"tokens": store.put(np.arange(6).reshape(2, 3))},
        {"head.weight": store.put(np.ones((4, 4)))},
        (port,),
        {},
        {"seed": 0},
        "spec",
    )


@pytest.fixture
def store(tmp_path):
    store = GoldenStore(tmp_path / "golden")
    store.write("toy", golden(store))
    return store


def test_a_manifest_reads_back_equal(store):
    read = store.read("toy", "toy-2.plain")
    assert replace(read, digest="") == golden(store)
    assert read.digest == read.content_digest() == golden(store).content_digest()
    assert (store.suites(), store.cases("toy")) == (["toy"], ["toy-2.plain"])


def test_equal_goldens_have_equal_bytes(store):
    first = store.path("toy", "toy-2.plain").read_bytes()
    store.write("toy", golden(store))
    assert store.path("toy", "toy-2.plain").read_bytes() == first


def test_verify_is_silent_on_a_whole_store(store):
    assert store.verify() == []
    store.require("toy", ["toy-2.plain"])


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_verify_names_the_object_and_what_it_serves(store, damage):
    ref = store.read("toy", "toy-2.plain").ports[0].tensor
    path = store.objects.path(ref.object)
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncate":
        path.write_bytes(content[:100])
    else:
        path.unlink()
    (finding,) = store.verify()
    assert ref.object in finding.object
    assert finding.ports == ("toy-2.plain head:out",)
    with pytest.raises(GoldenError) as caught:
        store.require("toy", ["toy-2.plain"])
    assert ref.object in str(caught.value)
    assert "toy-2.plain head:out" in str(caught.value)
    assert caught.value.exit_code == 3


def test_every_tensor_is_verified(store):
    for name in store.objects.names():
        path = store.objects.path(name)
        content = path.read_bytes()
        path.write_bytes(content + b"x")
        assert [finding.object for finding in store.verify()] == [f"object {name}"]
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ('{"format": 99}', "another format"),
        ("[]", "another format"),
        ('{"format": 1}', "manifest is corrupt"),
    ],
)
def test_a_broken_manifest_is_a_golden_error(store, content, says):
    store.path("toy", "toy-2.plain").write_text(content)
    with pytest.raises(GoldenError, match=says):
        store.read("toy", "toy-2.plain")
    (finding,) = store.verify()
    assert says in finding.problem


@pytest.mark.parametrize("change", ["floor", "ports", "name"])
def test_a_manifest_that_was_changed_by_hand_is_refused(store, change):
    path = store.path("toy", "toy-2.plain")
    data = json.loads(path.read_text())
    if change == "floor":
        data["ports"][0]["floors"] = {"isolated": {"bf16": {"rel_l2": 1e9}}}
    elif change == "ports":
        data["ports"] = []
    else:
        path = store.path("toy", "toy-2.other")
    path.write_text(json.dumps(data))
    with pytest.raises(GoldenError, match="was changed after it was captured"):
        store.read("toy", path.stem)
    assert [finding.problem for finding in store.verify()] == ["golden manifest was changed after it was captured"]


def test_gc_collects_what_killed_captures_left_behind(store):
    litter = store.objects.root / "ab" / ".abc.safetensors.123.tmp"
    litter.parent.mkdir(exist_ok=True)
    litter.write_bytes(b"half")
    assert store.gc() == []
    assert not litter.exists()


def test_a_missing_golden_says_how_to_get_it(store):
    with pytest.raises(GoldenError, match="no golden") as caught:
        store.read("toy", "toy-2.other")
    assert caught.value.try_ == "paritygate capture toy-2.other"
    with pytest.raises(GoldenError, match="missing or corrupt"):
        store.require("toy", ["toy-2.other"])


def test_gc_removes_only_what_no_manifest_names(store):
    orphan = store.put(np.full(3, 7.0))
    assert store.gc() == [orphan.object]
    assert store.gc() == []
    assert store.verify() == []


def test_gc_refuses_while_a_manifest_cannot_be_read(store):
    orphan = store.put(np.full(3, 7.0))
    store.path("toy", "toy-2.plain").write_text("{")
    with pytest.raises(GoldenError, match="cannot be read"):
        store.gc()
    assert orphan.object in store.objects.names()


def test_gc_waits_for_no_capture(store):
    with store.lock(exclusive=False), pytest.raises(GoldenError, match="in use"):
        store.gc()


KILLED_WRITER = """
    import sys, numpy as np
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_store_golden import golden
    from paritygate.store.golden import GoldenStore
    store = GoldenStore(Path({root!r}))
    print("ready", flush=True)
    value = 2.0
    while True:  # rewrites the golden until it is killed
        store.write("toy", golden(store, value))
        value += 1
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.05])
def test_a_killed_writer_leaves_a_valid_golden(store, delay_s):
    script = textwrap.dedent(KILLED_WRITER).format(tests=os.path.dirname(__file__), root=str(store.root))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert store.verify() == []
    assert json.loads(store.path("toy", "toy-2.plain").read_text())["format"] == 1


def test_a_failed_write_leaves_the_old_golden_and_no_litter(store, monkeypatch):
    before = store.path("toy", "toy-2.plain").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    changed = golden(store, 3.0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write("toy", changed)
    assert store.path("toy", "toy-2.plain").read_bytes() == before
    assert [p.name for p in store.path("toy", "x").parent.iterdir()] == ["toy-2.plain.json"]


def test_a_manifest_from_before_computations_were_described_has_its_digest(store):
    path = store.path("toy", "toy-2.plain")
    data = json.loads(path.read_text())
    assert data.pop("computation") == []
    path.write_text(readable(data))
    read = store.read("toy", "toy-2.plain")
    described = replace(read, computation=("", "head"))
    assert described.content_digest() != read.content_digest()
    store.write("toy", described)
    assert store.read("toy", "toy-2.plain").computation == ("", "head")
    path.write_text(path.read_text().replace('"head"\n ]', '"heat"\n ]'))
    with pytest.raises(GoldenError, match="changed after it was captured"):
        store.read("toy", "toy-2.plain")
