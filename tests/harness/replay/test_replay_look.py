"""What looks at a pass, forward or backward, is given what runs; to compile it there compiles nothing again."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from paritygate.audit.hlo import read
from paritygate.replay.gradient import compiled_for
from paritygate.replay.observe import Place, observe


@pytest.fixture(scope="module")
def compilations():
    """compilations() → how many programs XLA was asked for so far."""
    counted: list[str] = []

    def count(event: str, duration_secs: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            counted.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    return lambda: len(counted)


class Doubled(nnx.Module):
    def __init__(self, width: int):
        self.weight = nnx.Param(jnp.ones((width, width), jnp.float32))

    def __call__(self, x):
        return x @ self.weight[...] * 2


def forward(width: int, look):
    (value,) = observe(Doubled(width), [Place((), 0, ())], {"x": jnp.ones((2, width), jnp.float32)}, {}, look=look)
    return value


def backward(width: int, look):
    bench = SimpleNamespace(policy=SimpleNamespace(matmul=""), look=look)
    weights = jnp.ones((width, width), jnp.float32)
    return compiled_for(bench, jax.grad(lambda w: jnp.sum(jnp.sin(w @ w))))(weights)


@pytest.mark.parametrize("run", [forward, backward])
def test_what_is_looked_at_is_compiled_once(run, compilations):
    def cost(width: int, look) -> int:  # a width of its own each time, so that nothing is compiled yet
        before = compilations()
        run(width, look)
        return compilations() - before

    texts: list[str] = []
    ways: list[str] = []

    def look_at(traced, way: str) -> None:
        ways.append(way)
        texts.append(traced.lower().compile().as_text())

    run(4, None)  # what the values around the pass cost
    plain = cost(5, None)
    looked = cost(6, look_at)
    assert looked == plain > 0
    assert ways == [run.__name__]
    (text,) = texts
    assert any(each.opcode == "dot" and each.shapes[0].dims[-1] == 6 for each in read(text).instructions)


@pytest.mark.parametrize("run", [forward, backward])
def test_looking_changes_no_bit(run):
    assert run(7, None).tobytes() == run(7, lambda traced, way: None).tobytes()
