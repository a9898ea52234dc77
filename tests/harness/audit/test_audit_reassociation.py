"""What devices make of a right program stays within the bound, what a fault makes does not; and what moves, how far."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paritygate.audit.reassociation import Moved, moved

from limits import EPS, REASSOCIATION_X, limit

BF16, F32 = jnp.bfloat16, jnp.float32
rng = np.random.default_rng(5)
X, W = rng.standard_normal((6, 40)).astype(np.float32), rng.standard_normal((40, 9)).astype(np.float32)


def run(function: Callable[..., Any], *arguments: Any, split: int = 1, draws: int = 3) -> Moved:
    found = jax.jit(moved(function, split, draws))(*(jax.tree.map(jnp.asarray, each) for each in arguments))
    return jax.tree.map(np.asarray, found)


def distance(found: Moved) -> np.ndarray:
    """How far each element went, in each draw."""
    return np.abs(found.moved.astype(np.float64) - found.unmoved.astype(np.float64))


def roundoffs(found: Moved) -> np.ndarray:
    """The same, as roundoffs of float32 of the unmoved value."""
    return distance(found) / np.abs(found.unmoved.astype(np.float64)) / (EPS["f32"] / 2)


@pytest.fixture(scope="module")
def programs() -> dict[str, dict[str, Any]]:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, str(Path(__file__).with_name("reassociation_run.py"))]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


RIGHT = [f"{what} {dtype}" for what in ("product", "sum", "layers", "gradient") for dtype in ("f32", "bf16")]


@pytest.mark.parametrize("name", [*RIGHT, "product of bf16 in f32"])
def test_what_devices_really_differ_by_is_within_the_bound(programs, name: str) -> None:
    found = programs[name]
    assert list(found["drifts"]) == (["8"] if name.startswith(("layers", "gradient")) else ["2", "4", "8"])
    assert max(found["drifts"].values()) <= found["bound"]


@pytest.mark.parametrize("name", ["product f32", "product of bf16 in f32", "product bf16"])
def test_a_product_whose_parts_are_joined_by_hand_is_within_it(programs, name: str) -> None:
    assert programs[f"{name}, summed"]["drifts"]["8"] <= programs[name]["bound"]


def test_parts_rounded_to_16_bits_are_within_it_where_the_result_has_16_bits(programs) -> None:
    assert 0 < programs["product bf16, rounded"]["drifts"]["8"] <= programs["product bf16"]["bound"]


@pytest.mark.parametrize("name", ["product f32", "product of bf16 in f32", "product bf16"])
@pytest.mark.parametrize("planted", ["one_left_out", "counted_twice"])
def test_a_part_left_out_or_counted_twice_is_beyond_it(programs, name: str, planted: str) -> None:
    assert programs[f"{name}, {planted}"]["drifts"]["8"] > programs[name]["bound"]


@pytest.mark.parametrize("name", ["product f32", "product of bf16 in f32"])
def test_parts_rounded_to_16_bits_are_beyond_it_where_the_program_sums_in_float32(programs, name: str) -> None:
    assert programs[f"{name}, rounded"]["drifts"]["8"] > programs[name]["bound"]


@pytest.mark.parametrize("name", ["layers", "gradient"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_it_is_not_idle(programs, name: str, dtype: Any) -> None:
    """In bf16 devices may differ by nothing; one rounding is what they may at least differ by."""
    found = programs[f"{name} {dtype}"]
    least = max(*found["drifts"].values(), EPS[dtype] / 2)
    assert found["bound"] <= REASSOCIATION_X[dtype] * least


def summed(x: Any) -> Any:
    return jax.lax.reduce_sum(x, (1,))


def windows(x: Any) -> Any:
    return jax.lax.reduce_window(x, np.zeros((), x.dtype), jax.lax.add, (1, 5), (1, 1), "VALID")


def scattered(x: Any) -> Any:
    return jnp.zeros((2, 40), x.dtype).at[np.array([0, 0, 1, 0, 1, 0])].add(x)


def ragged(x: Any, w: Any) -> Any:
    return jax.lax.ragged_dot(x, jnp.stack([w, w]), np.array([2, 4], np.int32))


def convolved(x: Any, w: Any) -> Any:
    return jax.lax.conv(x.reshape(1, 6, 8, 5), w.reshape(4, 6, 5, 3), (1, 1), "VALID")


# what sums, its arguments, and how many terms its results have
SUMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any]] = {
    "dot_general": (jnp.matmul, (X, W), 40),
    "ragged_dot": (ragged, (X, W), 40),
    "convolution": (convolved, (X, W.reshape(-1)), 6 * 5 * 3),
    "reduce_sum": (summed, (X,), 40),
    "cumsum": (lambda x: jnp.cumsum(x, 1), (X,), 40),
    "reduce_window_sum": (windows, (X,), 5),
    "scatter-add": (scattered, (X,), np.array([[5], [3]])),  # itself among them
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_a_sum_is_moved_by_twice_what_its_order_may_cost_in_every_draw(name: str, dtype: Any) -> None:
    function, arguments, terms = SUMS[name]
    with jax.enable_x64(dtype == "f64"):
        given = [each[:360].astype("float64" if dtype == "f64" else "float32") for each in arguments]
        found = run(function, *given, split=8)
        scale = np.asarray(function(*map(np.abs, given)), np.float64)
    allowed = 2 * EPS[dtype] / 2 * terms * scale
    assert (np.abs(distance(found) - allowed) <= limit("elementwise", dtype) * scale).all()


@pytest.mark.parametrize(("split", "parts"), [(1, 0.0), (8, 1.0)])
def test_a_product_of_16_bits_is_moved_by_a_rounding_and_where_it_is_split_by_those_of_its_parts(split, parts) -> None:
    x, w = X.astype(BF16), W.astype(BF16)
    found = run(jnp.matmul, x, w, split=split)
    x, w = x.astype(np.float64), w.astype(np.float64)
    scale, value = np.abs(x) @ np.abs(w), x @ w
    roundoff = EPS["bf16"] / 2
    allowed = 2 * 40 * EPS["f32"] / 2 * scale + roundoff * (parts * scale + np.abs(value))
    rounded = roundoff * (np.abs(value) + allowed)  # what is moved is rounded, and so is what is not
    assert (distance(found) <= allowed + 2 * rounded).all()
    assert (distance(found) >= allowed - 2 * rounded).all()
    assert distance(found).sum() >= 0.9 * 3 * allowed.sum()


def test_sixteen_bits_in_float32_round_no_parts() -> None:
    def wide(x: Any, w: Any) -> Any:
        return jax.lax.dot(x, w, preferred_element_type=F32)

    one, eight = (run(wide, X.astype(BF16), W.astype(BF16), split=split) for split in (1, 8))
    assert np.array_equal(one.moved, eight.moved)


def test_an_order_that_is_as_bad_as_can_be_comes_near_the_bound_and_stays_within() -> None:
    thirds = np.full((1, 4096), 1 / 3, np.float32)  # one by one each term is rounded in the same direction
    one_by_one, exact = np.cumsum(thirds, 1)[:, -1], thirds.astype(np.float64).sum(1)
    worst = float(np.abs(one_by_one - exact).max())
    assert worst <= distance(run(summed, thirds)).min() <= REASSOCIATION_X["f32"] / 16 * worst


def test_all_but_sums_is_moved_by_one_roundoff_of_its_dtype() -> None:
    found = run(lambda x, y: x * y, X, X[::-1])
    assert np.array_equal(found.unmoved, X * X[::-1])
    assert set(np.unique(distance(found) / np.spacing(np.abs(found.unmoved)))) <= {0.0, 0.5, 1.0}
    assert (distance(found) > 0).mean() > 0.99
    low = run(lambda x: x.astype(BF16), X)
    assert (distance(low) > 0).mean() > 0.9
    assert np.array_equal(found.moved, run(lambda x, y: x * y, X, X[::-1], split=8).moved)


EXACT: dict[str, Callable[..., Any]] = {
    "moved about": lambda x: jnp.concatenate([x.T.reshape(6, 40)[::-1], x[jnp.array([1, 0])]]),
    "chosen": lambda x: jnp.where(x > 0, jnp.maximum(-x, 0.25), jnp.max(x, axis=1, keepdims=True)),
    "best": lambda x: jax.lax.top_k(x, 3),
    "masks": lambda x: (x > 0.1, jnp.argmax(x, 1), jnp.sign(x)),
    "whole numbers": lambda x: jnp.cumsum((x > 0).astype(jnp.int32), 1) * 3 + 1,
    "positions": lambda x: jnp.floor((jnp.arange(40.0) + 1) / 4),
    "counts": lambda x: (x > 0).astype(F32).sum(1),
    "lowest": lambda x: jnp.where(x > 0, jnp.finfo(F32).min, -jnp.inf) + 1 - jnp.finfo(F32).tiny,
    "lowest in 16 bits": lambda x: jnp.finfo(BF16).min + jnp.zeros(3, BF16),
    "wider": lambda x: jnp.bitwise_not(x.view(jnp.uint32)),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_nothing_rounds_stands_still(name: str) -> None:
    found = run(EXACT[name], X)
    for unmoved, draws in zip(jax.tree.leaves(found.unmoved), jax.tree.leaves(found.moved), strict=True):
        assert draws.shape == (3, *unmoved.shape) and draws.dtype == unmoved.dtype
        assert not np.isnan(unmoved.astype(np.float32)).any()
        assert all(np.array_equal(each, unmoved) for each in draws)


def test_a_cast_to_a_wider_dtype_stands_still() -> None:
    found = run(lambda x: x.astype(F32), X.astype(BF16))
    assert np.array_equal(found.moved, np.stack([X.astype(BF16).astype(np.float32)] * 3))


@jax.custom_jvp
def with_jvp(x: Any) -> Any:
    return x * 1.5


@jax.custom_vjp
def with_vjp(x: Any) -> Any:
    return x * 1.5


with_jvp.defjvps(lambda tangent, result, x: tangent * 1.5)
with_vjp.defvjp(lambda x: (x * 1.5, None), lambda _, tangent: (tangent * 1.5,))

HELD: dict[str, Callable[..., Any]] = {
    "jit": lambda x: jax.jit(lambda x: x * 1.5)(x),
    "scan": lambda x: jax.lax.scan(lambda c, row: (c, row * 1.5), 0, x)[1],
    "while": lambda x: jax.lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, s[1] * 1.5), (0, x))[1],
    "cond": lambda x: jax.lax.cond(x[0, 0] < 9, lambda x: x * 1.5, lambda x: x * 2.5, x),
    "custom_jvp": with_jvp,
    "custom_vjp": with_vjp,
    "remat": jax.checkpoint(lambda x: x * 1.5),
    "derivative": jax.grad(lambda x: (with_vjp(with_jvp(x)) * 1.5).sum()),
}


@pytest.mark.parametrize("name", HELD)
def test_a_rounding_is_moved_wherever_it_stands(name: str) -> None:
    found = run(HELD[name], X)
    assert (distance(found) > 0).mean() > 0.9


def test_each_turn_of_a_loop_and_each_draw_has_signs_of_its_own() -> None:
    def grown(x: Any) -> Any:
        return jax.lax.fori_loop(0, 100, lambda _, x: x * np.float32(1.001), x)

    found = run(grown, np.abs(X))
    apart = roundoffs(found)
    assert apart.max() < 100 and 4 < np.sqrt((apart**2).mean()) < 40  # √100 roundoffs or more, and not 100
    assert not np.array_equal(found.moved[0], found.moved[1])


def test_it_is_deterministic() -> None:
    one, other = (run(lambda x, w: jnp.tanh(x @ w), X, W) for _ in range(2))
    assert np.array_equal(one.moved, other.moved) and np.array_equal(one.unmoved, other.unmoved)


def test_a_choice_may_flip() -> None:
    """The two are as far apart as a roundoff: that a mesh may choose otherwise is what the bound says."""
    tied = np.array([[1.0, 1 + 2.0**-23]], np.float32)
    found = run(lambda x: jnp.argmax(x * np.float32(1.1), 1), tied, draws=16)
    assert found.unmoved.tolist() == [1] and set(found.moved.reshape(-1).tolist()) == {0, 1}


def test_all_draws_are_one_loop_around_one_program() -> None:
    traced = str(jax.make_jaxpr(moved(jnp.matmul, 8, 5))(X, W))
    assert traced.count("dot_general[") == 2  # the product, and that of the absolute values
    assert traced.count("length=6") == 1


def test_a_moved_loss_is_a_number_of_each_draw() -> None:
    found = run(lambda tree: {"loss": jnp.mean(tree["x"] ** 2), "none": None}, {"x": X}, draws=4)
    assert found.unmoved["none"] is None and found.moved["loss"].shape == (4,)
    assert math.isfinite(found.moved["loss"].max()) and len(set(found.moved["loss"].tolist())) > 1
