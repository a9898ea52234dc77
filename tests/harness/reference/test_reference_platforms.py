"""Peers on another device than the oracle's: everything is put there, and their floors stand beside the CPU's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paritygate.catalog.select import families, select_cases
from paritygate.core.errors import InfrastructureError, UsageError
from paritygate.core.family import Case
from paritygate.core.registry import extend
from paritygate.reference import floors
from paritygate.reference.build import Reference, at_once, calls_of, with_peers
from paritygate.reference.capture import capture
from paritygate.reference.oracle import lifted
from paritygate.store.golden import GoldenStore

CASE = Case("toy", "toy-2", "plain")
BF16 = {name: policy for name, policy in with_peers().items() if name == "bf16"}


@pytest.mark.parametrize("name", ["tiny-scout.decode", "tiny-scout.train"])
def test_all_that_a_peer_is_given_is_put_on_its_device(name):
    """torch's `meta` stands in: it computes shapes only, and refuses a tensor of the CPU beside one of its own.

    Not with pictures, whose places in the text HF looks at.
    """
    (case,) = select_cases(name)
    family = families()[case.family]
    prompt = family.prompt(case.prompt)
    reference = Reference(family, family.preset(case.preset), policies=BF16, products={}, device="meta")
    inputs, peer = reference.inputs(prompt, 0), reference.peers["bf16"][1]
    recorded = reference.run(peer, prompt, inputs)
    assert {tensor.device.type for tensor in peer.parameters()} == {"meta"}
    assert next(reference.oracle.parameters()).device.type == "cpu"
    with lifted():
        oracle = reference.run(reference.oracle, prompt, inputs)
    for site in family.sites_for(reference.preset, prompt):
        assert len(calls_of(site, recorded)) == len(calls_of(site, oracle))
        if "isolated" in site.modes:
            reference.isolated(peer, site, calls_of(site, oracle), torch.bfloat16)
    if prompt.backward:
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):  # all computed, none kept
            reference.gradients(peer, prompt, inputs)


@pytest.fixture
def store(tmp_path: Path) -> GoldenStore:
    extend([Path(__file__).parents[2] / "toy"])
    store = GoldenStore(tmp_path)
    capture([CASE], "toy", store, lambda line: None)
    return store


def test_floors_of_a_platform_stand_beside_those_of_the_cpu(store, monkeypatch):
    """The CPU stands in for the GPU, so that both must be the same numbers."""
    monkeypatch.setattr(floors, "device_of", lambda platform: "cpu")
    before, said = store.read("toy", CASE.id), list[str]()
    (after,) = floors.add_floors([CASE], "toy", store, said.append, "gpu")
    assert store.read("toy", CASE.id).ports == after.ports
    assert [replace(port, floors_on={}) for port in after.ports] == list(before.ports)
    plain = set(at_once(with_peers()))
    for port in after.ports:
        of_both = {mode: {n: f for n, f in sides.items() if n in plain} for mode, sides in port.floors.items()}
        assert port.floors_on == ({"gpu": of_both} if port.floors else {})
    assert set(after.provenance["floors_on"]["gpu"]) == plain
    assert (after.peers, after.peer_values, after.inputs) == (before.peers, {}, before.inputs)
    assert after.has_floors_on("gpu", "bf16") and not after.has_floors_on("tpu", "bf16")
    floors.add_floors([CASE], "toy", store, said.append, "gpu")
    assert "bf16" in said[0] and said[0].endswith(" on gpu")
    assert said[1] == f"{CASE.id}: floors of no further policy on gpu"


def test_a_manifest_of_before_has_the_same_digest(store):
    golden = store.read("toy", CASE.id)
    assert golden.digest == golden.content_digest()
    port = replace(golden.ports[0], floors_on={"gpu": {"chained": {"bf16": {"rel_l2": 1.0}}}})
    assert replace(golden, ports=(port, *golden.ports[1:])).content_digest() != golden.digest


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_infrastructure(store):
    with pytest.raises(InfrastructureError, match="torch finds no gpu here") as raised:
        floors.add_floors([CASE], "toy", store, lambda line: None, "gpu")
    assert "the floors of the CPU's peers stand in" in raised.value.try_


def test_torch_has_no_peer_on_a_tpu():
    with pytest.raises(UsageError, match="torch has no peer there: tpu"):
        floors.device_of("tpu")
