"""A rewritten program is the program, bit for bit, and a rule reaches every equation that it is for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paritygate.audit.flat import flat
from paritygate.audit.interpret import At, Origin, rewritten
from paritygate.core.errors import InfrastructureError, UsageError

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
W = np.sin(np.arange(36, dtype=np.float32)).reshape(6, 6)


@jax.custom_jvp
def with_jvp(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.tanh(x @ w)


@with_jvp.defjvp
def _(primals: Any, tangents: Any) -> Any:
    x, w = primals
    return with_jvp(x, w), 3.0 * (tangents[0] @ w + x @ tangents[1])


@jax.custom_vjp
def with_vjp(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.tanh(x @ w)


# The gradient stands on the right of one product, and on the left of the other.
with_vjp.defvjp(lambda x, w: (with_vjp(x, w), (x, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))


def scanned(x: jax.Array, w: jax.Array) -> jax.Array:
    carry, ys = jax.lax.scan(lambda c, y: (jnp.tanh(c @ w + y), c.sum()), x, jnp.arange(3, dtype=x.dtype), reverse=True)
    return carry * ys[0]


def looped(x: jax.Array, w: jax.Array) -> jax.Array:
    def going(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (state[0] < 3) & ((state[1] @ w).sum() < 1e9)

    return jax.lax.while_loop(going, lambda s: (s[0] + 1, jnp.tanh(s[1] @ w)), (0, x))[1]


def branched(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.cond(x.sum() > 5, lambda x: x @ w, lambda x: jnp.sin(x @ w), x)


def mapped(x: jax.Array, w: jax.Array) -> jax.Array:
    mesh = jax.make_mesh((1,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    summed = jax.shard_map(
        lambda x, w: jax.lax.psum(x @ w, "a"), mesh=mesh, in_specs=(spec("a"), spec()), out_specs=spec()
    )
    return summed(x, w)


def nested(x: jax.Array, w: jax.Array) -> jax.Array:
    def layer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.checkpoint(lambda x: branched(with_jvp(x, w), w) + with_vjp(x, w))(x), None

    return jax.jit(lambda x: jax.lax.scan(layer, x, None, length=2)[0])(x)


# program: how many products stand in it
PROGRAMS: dict[str, tuple[Callable[..., Any], int]] = {
    "plain": (lambda x, w: jnp.tanh(x @ w), 1),
    "jit": (lambda x, w: jax.jit(lambda x: jnp.einsum("ij,jk->ik", x, w))(x), 1),
    "scan": (scanned, 1),
    "while": (looped, 2),
    "cond": (branched, 2),
    "custom_jvp": (with_jvp, 1),
    "custom_vjp": (with_vjp, 1),
    "remat": (lambda x, w: jax.checkpoint(lambda x: jnp.tanh(x @ w))(x), 1),
    "shard_map": (mapped, 1),
    "nested": (nested, 4),
}
DIFFERENTIABLE = [name for name in PROGRAMS if name not in ("while", "shard_map")]


def gradient(program: Callable[..., Any]) -> Callable[..., Any]:
    return jax.grad(lambda x, w: program(x, w).sum(), argnums=(0, 1))


def equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


class Counting:
    """A rule that computes what the equation does, and counts; `sign` changes what it gives."""

    def __init__(self, sign: int = 1):
        self.seen: list[At] = []
        self.sign = sign

    def __call__(self, at: At, inputs: list[Any]) -> list[Any]:
        self.seen.append(at)
        return [self.sign * at.eqn.primitive.bind(*inputs, **at.eqn.params)]


def products(function: Callable[..., Any]) -> int:
    return sum(equation.primitive == "dot_general" for equation in flat(jax.make_jaxpr(function)(X, W)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_rules_it_is_the_program(name: str) -> None:
    program, _ = PROGRAMS[name]
    assert equal(jax.jit(rewritten(program, {}))(X, W), jax.jit(program)(X, W))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_rule_that_changes_nothing_is_reached_everywhere_and_changes_no_bit(name: str) -> None:
    program, count = PROGRAMS[name]
    rule = Counting()
    assert equal(jax.jit(rewritten(program, {"dot_general": rule}))(X, W), jax.jit(program)(X, W))
    assert len({id(at.eqn) for at in rule.seen}) == count == products(program)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_rule_gives_is_what_the_program_goes_on_with(name: str) -> None:
    program, _ = PROGRAMS[name]
    found = jax.jit(rewritten(program, {"dot_general": Counting(-1)}))(X, W)
    assert not equal(found, jax.jit(program)(X, W))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_products_of_a_derivative_are_reached_too(name: str) -> None:
    program = gradient(PROGRAMS[name][0])
    rule = Counting()
    assert equal(jax.jit(rewritten(program, {"dot_general": rule}))(X, W), jax.jit(program)(X, W))
    assert len({id(at.eqn) for at in rule.seen}) == products(program) > PROGRAMS[name][1]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_gradient_and_a_weight_are_known_wherever_they_stand(name: str) -> None:
    rule = Counting()
    jax.jit(rewritten(gradient(PROGRAMS[name][0]), {"dot_general": rule}, weights=(1,)))(X, W)
    origins = [set(at.origins) for at in rule.seen]
    assert {Origin(weight=True), Origin(cotangent=True)} in origins, "the gradient of the input"
    assert {Origin(), Origin(cotangent=True)} in origins, "the gradient of the weight"
    assert {Origin(weight=True), Origin()} in origins, "the product itself"
    assert not any(all(origin.cotangent for origin in at.origins) for at in rule.seen)


def test_a_loop_stays_a_loop() -> None:
    again = jax.make_jaxpr(rewritten(scanned, {"dot_general": Counting()}))(X, W)
    assert str(again).count(" scan[") == 1 and str(again).count(" dot_general[") == 1


def test_an_argument_may_be_any_tree() -> None:
    given = {"a": [X, W], "b": None}
    found = rewritten(lambda tree, *, more: {"sum": tree["a"][0] @ tree["a"][1] + more, "none": None}, {})(
        given, more=1
    )
    assert found["none"] is None and equal(found["sum"], jax.jit(lambda x, w: x @ w + 1)(X, W))


def test_without_rules_a_derivative_is_kept_and_with_one_it_is_refused() -> None:
    assert equal(gradient(rewritten(with_jvp, {}))(X, W), gradient(with_jvp)(X, W))
    with pytest.raises(UsageError, match=r"^a rewritten function was differentiated: dot_general at .*interpret\.py:"):
        gradient(rewritten(with_jvp, {"dot_general": Counting()}))(X, W)


def test_what_cannot_be_looked_into_is_refused_by_name_and_line() -> None:
    def foreign(x: jax.Array) -> jax.Array:
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    assert equal(jax.jit(rewritten(foreign, {}))(X), X)
    with pytest.raises(InfrastructureError, match=r"^a primitive cannot be looked into: pure_callback at test_audit"):
        rewritten(foreign, {"dot_general": Counting()})(X)


def test_a_product_in_a_kernel_is_refused_and_a_kernel_without_one_is_not() -> None:
    pallas = pytest.importorskip("jax.experimental.pallas")

    def kernel(body: Callable[..., Any]) -> Callable[..., Any]:
        return pallas.pallas_call(body, out_shape=jax.ShapeDtypeStruct((6, 6), np.float32), interpret=True)

    def add(w: Any, out: Any) -> None:
        out[...] = w[...] + w[...]

    def multiply(w: Any, out: Any) -> None:
        out[...] = w[...] @ w[...]

    assert equal(rewritten(kernel(add), {"dot_general": Counting()})(W), W + W)
    with pytest.raises(InfrastructureError, match=r"cannot be looked into: pallas_call at"):
        rewritten(kernel(multiply), {"dot_general": Counting()})(W)


def test_a_rule_must_give_what_the_equation_gives() -> None:
    with pytest.raises(UsageError, match=r"^a rule changes what an equation gives: dot_general at") as refused:
        rewritten(lambda x, w: x @ w, {"dot_general": lambda at, inputs: [inputs[0].astype("float16")]})(X, W)
    assert (refused.value.expected, refused.value.got) == ("float32[4, 6]", "float16[4, 6]")


def test_an_equation_knows_its_line() -> None:
    (product,) = [e for e in flat(jax.make_jaxpr(scanned)(X, W)) if e.primitive == "dot_general"]
    assert product.line.file.endswith("test_audit_interpret.py") and "scanned" in product.line.function
    assert str(product.line).startswith(f"test_audit_interpret.py:{product.line.number} (")
