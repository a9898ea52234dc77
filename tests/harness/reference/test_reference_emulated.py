"""Emulated peers: every product in the arithmetic and nothing else, and floors that goldens get afterwards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.nn import functional

from paritygate.catalog.select import policies
from paritygate.core.errors import GoldenError, UsageError
from paritygate.core.family import Case
from paritygate.core.registry import extend
from paritygate.reference.build import at_once, with_peers
from paritygate.reference.capture import capture
from paritygate.reference.emulated import ARITHMETICS, Emulated, _to_tf32
from paritygate.reference.floors import add_floors
from paritygate.store.golden import GoldenStore

from limits import EMULATED, limit

Tensor = torch.Tensor
CASE = Case("toy", "toy-2", "plain")


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float32)


def bf16(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).float()


def off(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def test_there_is_one_for_every_policy_that_names_one() -> None:
    assert set(ARITHMETICS) == {policy.matmul for policy in policies().values()} - {""}
    with pytest.raises(UsageError, match=r"^unknown matmul arithmetic: bf16x2\n"):
        Emulated("bf16x2", [])


@pytest.mark.parametrize("name", ARITHMETICS)
def test_it_is_as_far_off_as_theory_says(name: str) -> None:
    x, w = drawn(64, 256), drawn(256, 64)
    with Emulated(name, [w]):
        found = x @ w
    least, most = EMULATED[name].between
    assert least <= off(found, x.double() @ w.double()) <= most


WRITTEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, w: functional.linear(x, w.T),
    "linear of a batch": lambda x, w: functional.linear(x.reshape(2, 8, 16), w.T),
    "matmul of a batch": lambda x, w: x.reshape(2, 8, 16) @ w,
    "einsum": lambda x, w: torch.einsum("ik,kj->ij", x, w),
    "bmm": lambda x, w: torch.bmm(x[None], w[None]),
    "convolution": lambda x, w: functional.conv1d(x.reshape(16, 16, 1), w.T[:, :, None]),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_it_is_the_same_however_a_product_is_written(written: str) -> None:
    x, w = drawn(16, 16), drawn(16, 8)
    with Emulated("bf16x1", []):
        found = WRITTEN[written](x, w)
    exact = (bf16(x).double() @ bf16(w).double()).reshape(found.shape)
    assert off(found, exact) <= limit("dot", "f32", terms=16)
    assert off(found, (x.double() @ w.double()).reshape(found.shape)) > EMULATED["bf16x1"].between[0] / 2


def test_a_bias_is_added_before_the_sum_is_rounded() -> None:
    x, w, bias = (tensor.to(torch.bfloat16) for tensor in (drawn(4, 16), drawn(8, 16), drawn(8)))
    with Emulated("bf16x1", []):
        found = functional.linear(x, w, bias)
    assert torch.equal(found, (x.float() @ w.float().T + bias.float()).to(torch.bfloat16))
    with Emulated("bf16x1", []):
        scaled = torch.addmm(bias, x, w.T, beta=2, alpha=0.5)
    assert torch.equal(scaled, (2 * bias.float() + 0.5 * (x.float() @ w.float().T)).to(torch.bfloat16))


def test_tf32_takes_a_tie_away_from_zero_and_float8_is_what_ml_dtypes_rounds_to() -> None:
    ties = torch.tensor([1 + 2.0**-11, -1 - 2.0**-11, 1 + 3 * 2.0**-11, torch.inf, torch.nan])
    expected = torch.tensor([1 + 2.0**-10, -1 - 2.0**-10, 1 + 2.0**-9, torch.inf, torch.nan])
    np.testing.assert_array_equal(_to_tf32(ties), expected)
    x = drawn(32, 64)
    with Emulated("e4m3-tensor", []):
        found = x @ torch.eye(64)  # 1 is 448 units of 1 / 448
    unit = np.float32(x.abs().max()) * np.float32(1 / 448)
    rounded = (x.numpy() / unit).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * unit
    ones = np.float32(448) * np.float32(1 / 448)
    np.testing.assert_array_equal(found, rounded * ones)


def test_weights_alone_are_rounded_transposed_or_not() -> None:
    x, w = drawn(8, 16), drawn(4, 16)
    for name in ("int8-weights", "e4m3-weights"):
        with Emulated(name, [w]):
            rounded, back = functional.linear(x, w), drawn(8, 4) @ w
        with Emulated(name, []):
            kept = functional.linear(x, w)
        assert torch.equal(kept, functional.linear(x, w))
        assert not torch.equal(rounded, kept)
        assert not torch.equal(back, drawn(8, 4) @ w)


def test_a_gradient_is_rounded_to_e5m2_and_nothing_else_is() -> None:
    g = 1 + 2.0**-3  # e4m3 holds it exactly, e5m2 rounds it to 1
    x, w = torch.ones(2, 1, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    with Emulated("e4m3-tensor", [w]):
        ((x @ w) * torch.tensor([g, 1.75])).sum().backward()
    assert x.grad is not None and w.grad is not None
    assert (x.grad.tolist(), w.grad.tolist()) == ([[2.75], [2.75]], [[2.0, 3.5]])


def test_a_total_in_float16_loses_what_one_in_float32_keeps() -> None:
    small = torch.cat([torch.full((1, 8), 256.0), torch.full((1, 801), 2.0**-4)], dim=1)
    with Emulated("f16-accumulate", []):
        assert (small @ torch.ones(809, 1)).item() == 2048, "half a spacing, a hundred times"
        with pytest.raises(UsageError, match="no such product in this arithmetic: convolution"):
            functional.conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 2))


def test_what_is_no_such_product_is_left_alone_or_refused() -> None:
    x = drawn(4, 4)
    with Emulated("bf16x1", []):
        assert torch.equal(x[:, :1] @ x[:1], x[:, :1] * x[:1]), "of one term: HF's angles"
        assert torch.equal(x.double() @ x.double(), torch.from_numpy(x.double().numpy() @ x.double().numpy()))
        for refused in (lambda: x @ x[0], lambda: functional.scaled_dot_product_attention(*[x[None, None]] * 3)):
            with pytest.raises(UsageError, match="no such product in this arithmetic: aten::"):
                refused()


@pytest.fixture
def toy_store(tmp_path: Path) -> GoldenStore:
    extend([Path(__file__).parents[2] / "toy"])
    store = GoldenStore(tmp_path)
    capture([CASE], "toy", store, lambda line: None, policies=at_once(with_peers()))
    return store


def test_floors_are_added_to_a_golden_as_a_capture_would_have_taken_them(
    toy_store: GoldenStore, tmp_path: Path
) -> None:
    before, said = toy_store.read("toy", CASE.id), list[str]()
    assert set(before.peers) == set(at_once(with_peers()))
    (after,) = add_floors([CASE], "toy", toy_store, said.append)
    (whole,) = capture([CASE], "toy", GoldenStore(tmp_path / "whole"), lambda line: None)
    assert toy_store.read("toy", CASE.id).ports == after.ports == whole.ports
    assert after.peers == whole.peers
    assert set(after.provenance["floors_added"]) == set(with_peers()) - set(before.peers)
    assert "floors of bf16@e4m3-channel" in said[0]
    add_floors([CASE], "toy", toy_store, said.append)
    assert said[1] == f"{CASE.id}: floors of no further policy"


def test_an_emulated_peer_is_off_by_what_its_products_are(toy_store: GoldenStore) -> None:
    (golden,) = add_floors([CASE], "toy", toy_store, lambda line: None)
    by_policy = {
        name: max(
            port.floors["chained"][name]["rel_l2"] for port in golden.ports if name in port.floors.get("chained", {})
        )
        for name in golden.peers
    }
    assert by_policy["f32"] < by_policy["f32@bf16x3"] < by_policy["f32@tf32"] < by_policy["f32@bf16x1"]
    assert by_policy["bf16"] < by_policy["bf16@int8-weights"] < by_policy["bf16@e4m3-tensor"]


def test_floors_of_other_weights_are_refused(toy_store: GoldenStore) -> None:
    golden = toy_store.read("toy", CASE.id)
    name, ref = next(iter(golden.weights.items()))
    other = toy_store.put(toy_store.tensor(ref) + 1)
    toy_store.write("toy", replace(golden, weights={**golden.weights, name: other}))
    with pytest.raises(GoldenError, match="the reference has other weights today than the golden") as raised:
        add_floors([CASE], "toy", toy_store, lambda line: None)
    assert (raised.value.got, raised.value.try_) == (name, f"paritygate capture {CASE.id}")
