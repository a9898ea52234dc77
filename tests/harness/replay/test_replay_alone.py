"""A value on a mesh beside what one device gives: its distance, and that of moved runs from one that stands still."""

import jax
import numpy as np

from paritygate.audit.reassociation import moved_once
from paritygate.core.cell import Mode
from paritygate.core.drift import Reassociated
from paritygate.core.golden import GoldenPort, TensorRef
from paritygate.core.site import Kind
from paritygate.replay.alone import Alone

KEY = (Mode.CHAINED, "a:out")


def golden(kind: Kind = Kind.FLOAT) -> GoldenPort:
    return GoldenPort("a", "out", 0, kind, "B T D", 0, TensorRef("0" * 64, "float32", (1, 2, 2)), modes=(Mode.CHAINED,))


def found(array: np.ndarray, of: Alone, kind: Kind = Kind.FLOAT, real: np.ndarray | None = None) -> Reassociated | None:
    return of.beside(golden(kind), Mode.CHAINED, array, real)


def value(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32).reshape(1, 2, 2)


ALONE = Alone(
    {KEY: value(3, 4, 0, 0)}, ({KEY: value(1, 0, 0, 0)}, {KEY: value(1.5, 0, 0, 0)}, {KEY: value(0.75, 0, 0, 0)})
)


def test_the_bound_is_the_farthest_of_the_draws_from_the_one_that_moves_nothing():
    assert found(value(3, 4, 0, 2.5), ALONE) == Reassociated(0.5, 0.5)


def test_only_real_tokens_count():
    assert found(value(3, 4, 0, 2.5), ALONE, real=np.array([[True, False]])) == Reassociated(0.0, 0.5)


def test_what_is_no_float_or_not_run_alone_has_nothing_beside_it():
    assert found(value(3, 4, 0, 0), ALONE, Kind.INDEX) is None
    assert ALONE.beside(golden(), Mode.GRADIENT, value(3, 4, 0, 0), None) is None


def test_what_one_device_does_not_give_passes_no_bound():
    for there in (Alone({}, ALONE.moved), Alone(ALONE.plain, (*ALONE.moved[:2], {}))):
        beside = found(value(3, 4, 0, 0), there)
        assert beside is not None and beside.apart > beside.bound
    beside = found(value(3, 4, 0, 0)[:, :1], ALONE)
    assert beside is not None and beside.apart > beside.bound


def test_draw_zero_moves_nothing():
    x = np.linspace(0.1, 1, 6, dtype=np.float32).reshape(2, 3)
    run = jax.jit(moved_once(lambda x: x @ x.T, 2))
    assert np.array_equal(run(np.uint32(0), x), jax.jit(lambda x: x @ x.T)(x))
    assert not np.array_equal(run(np.uint32(1), x), run(np.uint32(0), x))
