"""What faults of sharding are made of: without a mesh it changes nothing, and each with one says what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_llama4 import Rules, use_mesh
from jax_llama4.sharding import make_mesh
from paritygate.replay import llama4_by_hand as by_hand


def test_without_a_mesh_nothing_is_done_by_hand():
    x, kernel = jnp.arange(6.0).reshape(2, 3), jnp.ones((3, 4))
    right = x @ kernel
    assert by_hand.split_sum(right, x, kernel, "heads", lambda part, axes: jax.lax.psum(part, axes)) is right
    assert by_hand.stale(right, x, kernel) is right
    assert by_hand.ways("batch") == 1 and by_hand.mesh_axes("batch") == ()
    np.testing.assert_array_equal(by_hand.dealt(x, "heads", 1), x)
    np.testing.assert_array_equal(by_hand.whole_parts(x, "length", 1), x)
    np.testing.assert_array_equal(by_hand.slots_of_parts(jnp.arange(4)), np.arange(4))
    np.testing.assert_array_equal(by_hand.top_k_of_parts(x, 2), jax.lax.top_k(x, 2)[1])


def test_axes_that_the_rules_do_not_split_are_left_alone():
    mesh = make_mesh((1,), ("tp",))
    with use_mesh(mesh, Rules.of(heads="tp")):
        assert (by_hand.mesh_axes("heads"), by_hand.ways("heads")) == (("tp",), 1)
        assert (by_hand.mesh_axes("length"), by_hand.ways("length")) == ((), 1)
