"""Forced choices: what the modules at their places compute is replaced, whatever it is, and nothing else is."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from paritygate.core.errors import UsageError
from paritygate.core.family import Case
from paritygate.replay.observe import Place, observe


class Tap(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class Chooser(nnx.Module):
    def __init__(self):
        self.tap = Tap()

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(x, self.tap(x.argmax(-1, keepdims=True)), axis=-1)


class Twice(nnx.Module):
    def __init__(self):
        self.inner = Chooser()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.inner(x) + 16 * self.inner(x + 1)


X = jnp.array([[1.0, 2.0, 4.0], [8.0, 1.0, 2.0]])
TAP = ("inner", "tap")


def seen(forced: dict[Place, jax.Array]) -> list[list[list[float]]]:
    places = [Place((), 0, ()), Place(TAP, 0, ()), Place(TAP, 1, ())]
    values = observe(Twice(), places, {"x": X}, forced)
    return [value.tolist() for value in values if value is not None]


def test_nothing_is_forced_where_nothing_is_asked():
    assert seen({}) == [[[4.0 + 16 * 5.0], [8.0 + 16 * 9.0]], [[2], [0]], [[2], [0]]]


def test_a_call_gives_the_forced_value_and_the_others_their_own():
    choice = jnp.array([[0], [1]], jnp.int32)
    assert seen({Place(TAP, 1, ()): choice}) == [[[4.0 + 16 * 2.0], [8.0 + 16 * 2.0]], [[2], [0]], [[0], [1]]]
    assert seen({Place(TAP, 0, ()): choice})[0] == [[1.0 + 16 * 5.0], [1.0 + 16 * 9.0]]


def test_what_cannot_be_forced_is_an_error_and_not_left_out():
    with pytest.raises(ValueError, match=r"gives shape \(2, 1\), where \(2, 2\) was to be forced"):
        seen({Place(TAP, 0, ()): jnp.zeros((2, 2), jnp.int32)})
    with pytest.raises(ValueError, match=r"never reaches \('inner', 'tap'\)"):
        seen({Place(TAP, 2, ()): jnp.zeros((2, 1), jnp.int32)})


def test_a_candidate_without_choices_has_nothing_to_force(replay_toy):
    with pytest.raises(UsageError, match="nothing to force: toy-2"):
        replay_toy(routing="golden")
    assert not replay_toy.runs.exists()


def test_a_choice_that_no_tap_shows_cannot_be_forced():
    from dataclasses import replace

    from paritygate.catalog.select import families
    from paritygate.replay.launch import check_routing

    family = families()["llama4"]
    check_routing([Case("llama4", "tiny-scout", "long")], {"llama4": family})
    bare = tuple(
        replace(
            site,
            ports=tuple(replace(p, candidate="result:2") if p.name == "out.choice" else p for p in site.ports),
        )
        for site in family.sites
    )
    with pytest.raises(UsageError, match=r"cannot be forced: layers\.0\.moe\.router:out\.choice"):
        check_routing([Case("llama4", "tiny-scout", "long")], {"llama4": replace(family, sites=bare)})
