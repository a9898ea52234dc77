"""Capture: the same golden every time, near ties refused aloud, wrong specs named."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from paritygate.catalog.reseed import reseeded
from paritygate.catalog.select import families
from paritygate.core.errors import UsageError
from paritygate.core.family import Case
from paritygate.core.registry import extend
from paritygate.reference import capture as capturing
from paritygate.reference.build import with_peers
from paritygate.reference.capture import capture
from paritygate.store.golden import GoldenStore

import limits

TOY = Path(__file__).parents[2] / "toy"
CASE = Case("toy", "toy-2", "plain")


@pytest.fixture(autouse=True)
def toy():
    extend([TOY])


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


def test_capturing_twice_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        capture([CASE], "toy", GoldenStore(tmp_path / name), lambda text: None)
    assert tree(tmp_path / "first") == tree(tmp_path / "second")


def test_a_float_port_has_a_floor_for_each_peer_and_mode(tmp_path):
    (golden,) = capture([CASE], "toy", GoldenStore(tmp_path), lambda text: None)
    for port in golden.ports:
        modes = {"isolated", "chained"} if port.kind == "float" and not port.is_input else set()
        assert set(port.floors) == modes
        for floors in port.floors.values():
            assert set(floors) == set(with_peers())
            assert all(set(metrics) >= {"rel_l2", "max_abs"} for metrics in floors.values())
    assert [p.order for p in golden.ports] == list(range(len(golden.ports)))


def test_a_reseeded_family_is_captured_with_other_weights_and_text(tmp_path):
    (golden,) = capture([CASE], "toy", GoldenStore(tmp_path / "0"), lambda text: None)
    toy = reseeded(families()["toy"], 1)
    (other,) = capture([CASE], "toy", GoldenStore(tmp_path / "1"), lambda text: None, {"toy": toy})
    assert other.spec != golden.spec and other.config == golden.config
    assert [p.address for p in other.ports] == [p.address for p in golden.ports]
    assert other.inputs["tokens"] != golden.inputs["tokens"]
    assert all(other.weights[name] != tensor for name, tensor in golden.weights.items())


def test_golden_of_the_repository_is_what_capture_gives_today(tmp_path):
    """The committed tiny-scout.long: tensors and structure, not floors, which depend on this machine's kernels."""
    committed = GoldenStore(TOY.parents[1] / "golden").read("tiny", "tiny-scout.long")
    (fresh,) = capture([Case("llama4", "tiny-scout", "long")], "tiny", GoldenStore(tmp_path), lambda text: None)
    assert fresh.spec == committed.spec
    assert fresh.weights == committed.weights
    assert fresh.inputs == committed.inputs
    assert fresh.computation == committed.computation
    assert [p.address for p in fresh.ports] == [p.address for p in committed.ports]


def test_golden_of_pictures_is_what_capture_gives_today(tmp_path):
    committed = GoldenStore(TOY.parents[1] / "golden").read("vision", "tiny-vision.frames")
    case = Case("llama4-multimodal", "tiny-vision", "frames")
    (fresh,) = capture([case], "vision", GoldenStore(tmp_path), lambda text: None)
    assert fresh.spec == committed.spec
    assert fresh.weights == committed.weights
    assert fresh.inputs == committed.inputs
    assert fresh.computation == committed.computation
    assert fresh.inputs["pixels"].dtype == "bfloat16"
    assert [p.address for p in fresh.ports] == [p.address for p in committed.ports]


def test_a_copy_has_the_floor_of_rounding_alone_and_a_chain_more():
    """The merge copies its inputs: alone it costs a peer half a roundoff at most, whatever was before it."""
    golden = GoldenStore(TOY.parents[1] / "golden").read("vision", "tiny-vision.tiles")
    (merged,) = [port for port in golden.ports if port.address == "merge:out"]
    for policy, dtype in (("f32", "f32"), ("bf16", "bf16"), ("f16", "f16")):
        alone, chained = (merged.floors[mode][policy]["rel_l2"] for mode in ("isolated", "chained"))
        assert 0 < alone <= limits.EPS[dtype] / 2 < chained


def llama4_with(monkeypatch, **changes):
    family = replace(capturing.families()["llama4"], **changes)
    monkeypatch.setattr(capturing, "families", lambda: {"llama4": family})


def test_nearly_tied_routing_is_refused_and_the_next_seed_tried(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(capturing, "MAX_SEEDS", 3)
    llama4_with(monkeypatch, min_margin_x=1e6)
    with pytest.raises(UsageError, match=r"no prompt seed gives clear routing: tiny-scout\.long") as caught:
        capture([Case("llama4", "tiny-scout", "long")], "tiny", GoldenStore(tmp_path), said.append)
    assert "3 seeds, all nearly tied" in str(caught.value)
    assert len(said) == 3
    assert said[0].startswith("tiny-scout.long: seed 0 refused, near tie at layers.0.moe.router:out.choice: margin")
    assert said[0].endswith("trying seed 1")
    assert not (tmp_path / "tiny").exists()


def test_a_peer_that_routes_otherwise_is_refused(tmp_path, monkeypatch):
    said = []
    flips = iter(["the reference in bf16 chooses otherwise for 1 tokens at x", ""])
    monkeypatch.setattr(capturing, "_flips", lambda *args: next(flips))
    (golden,) = capture([Case("llama4", "tiny-scout", "long")], "tiny", GoldenStore(tmp_path), said.append)
    assert "seed 0 refused, the reference in bf16 chooses otherwise" in said[0]
    assert golden.provenance["prompt_seed"] == 1


def test_flips_are_found_between_peer_and_oracle(reference):
    from paritygate.reference.oracle import lifted

    subject = reference("tiny-scout")
    prompt = subject.family.prompt("long")
    inputs = subject.inputs(prompt, 0)
    real = capturing.Real(prompt, inputs["attention_mask"])
    with lifted():
        oracle = subject.values(subject.run(subject.oracle, prompt, inputs), prompt, inputs)
    peer = {key: array.copy() for key, (_, _, array, _) in oracle.items()}
    assert capturing._flips({"bf16": peer}, oracle, real) == ""
    choice = peer["layers.1.moe.router", "out.choice", 0]
    choice[5] = (choice[5] + 1) % 4
    assert capturing._flips({"bf16": peer}, oracle, real) == (
        "the reference in bf16 chooses otherwise for 1 tokens at layers.1.moe.router:out.choice"
    )


def test_a_site_that_never_runs_is_named(tmp_path, monkeypatch):
    family = capturing.families()["toy"]
    sites = tuple(replace(site, calls=2) if site.name == "head" else site for site in family.sites)
    monkeypatch.setattr(capturing, "families", lambda: {"toy": replace(family, sites=sites)})
    with pytest.raises(UsageError, match="site was not run as often as its spec says: head") as caught:
        capture([CASE], "toy", GoldenStore(tmp_path), lambda text: None)
    assert "2 calls of head" in str(caught.value)


KILLED = """
    import sys
    from pathlib import Path
    from paritygate.core.registry import extend
    extend([{toy!r}])
    from paritygate.core.family import Case
    from paritygate.reference.capture import capture
    from paritygate.store.golden import GoldenStore
    store = GoldenStore(Path({root!r}))
    print("ready", flush=True)
    while True:
        capture([Case("toy", "toy-2", "plain")], "toy", store, lambda text: None)
        print("captured", flush=True)
"""


def test_a_killed_capture_leaves_the_old_golden_valid(tmp_path):
    store = GoldenStore(tmp_path)
    script = textwrap.dedent(KILLED).format(toy=str(TOY), root=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ | {"PYTHONWARNINGS": ""}
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"ready\n", b"captured\n"]
    before = tree(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert store.verify() == []
    assert {k: v for k, v in tree(tmp_path).items() if not k.endswith(".tmp")} == before
