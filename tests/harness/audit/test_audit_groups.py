"""The groups of a collective, in every form that XLA prints, and the axes of a mesh that make them."""

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritygate.audit.groups import MeshAxes, groups_of, pairs_of

FORMS = {
    "{{0,1},{2,3},{4,5},{6,7}}": ((0, 1), (2, 3), (4, 5), (6, 7)),
    "{}": ((0, 1, 2, 3, 4, 5, 6, 7),),
    "[4,2]<=[8]": ((0, 1), (2, 3), (4, 5), (6, 7)),
    "[4,2]<=[2,4]T(1,0)": ((0, 4), (1, 5), (2, 6), (3, 7)),
    "[2,4]<=[4,2]T(1,0)": ((0, 2, 4, 6), (1, 3, 5, 7)),
    "mesh['a'=2,'b'=4] {'a'}": ((0, 4), (1, 5), (2, 6), (3, 7)),
    "mesh['a'=2,'b'=4] {'b'}": ((0, 1, 2, 3), (4, 5, 6, 7)),
    "mesh['a'=2,'b'=4] {'b':(2)2}": ((0, 1), (2, 3), (4, 5), (6, 7)),
    "mesh['a'=2,'b'=4] {'b':(1)2}": ((0, 2), (1, 3), (4, 6), (5, 7)),
    "mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}": ((0, 1, 2, 3), (4, 5, 6, 7)),
    "mesh['a'=2,'b'=2], device_ids=(3,2,1,0) {'b'}": ((3, 2), (1, 0)),
}


@pytest.mark.parametrize("text", FORMS)
def test_groups_are_read_in_every_form(text):
    assert set(map(frozenset, groups_of(text, 8) or ())) == set(map(frozenset, FORMS[text]))


@pytest.mark.parametrize("text", ["", "all", "mesh['a'=2] {'b'}", "mesh['a'=2], device_ids=(?) {'a'}"])
def test_a_form_that_is_not_known_is_not_guessed(text):
    assert groups_of(text, 2) is None
    assert MeshAxes({"tp": 2}, ()).of_groups(None, text).startswith("groups that cannot be read")


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.data(),
)
def test_each_set_of_axes_is_known_by_its_groups(sizes, data):
    names = ["dp", "fsdp", "tp"][: len(sizes)]
    order = data.draw(st.permutations(range(prod(sizes))))
    axes = MeshAxes(dict(zip(names, sizes, strict=True)), order)
    wide = [name for name, size in zip(names, sizes, strict=True) if size > 1]
    for count in range(1, len(wide) + 1):
        for some in itertools.combinations(wide, count):
            groups = axes.groups(some)
            printed = "{" + ",".join("{" + ",".join(map(str, group)) + "}" for group in groups) + "}"
            assert sorted(itertools.chain(*groups)) == list(range(prod(sizes)))
            assert axes.of_groups(groups_of(printed, prod(sizes))) == "+".join(some)


@given(st.integers(1, 4), st.integers(1, 4))
def test_an_iota_is_its_transposed_numbers(rows, columns):
    found = groups_of(f"[{columns},{rows}]<=[{rows},{columns}]T(1,0)", rows * columns)
    assert found == tuple(map(tuple, np.arange(rows * columns).reshape(rows, columns).T.tolist()))


def test_groups_of_no_axis_are_said_so():
    axes = MeshAxes({"fsdp": 2, "tp": 4}, ())
    assert axes.of_groups(((0, 1), (2, 3), (4, 5), (6, 7))) == "4 groups of 2, no axis of the mesh"


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("{{0,1},{1,0}}", "tp"), ("{{0,4},{4,0}}", "fsdp"), ("{{1,4}}", "fsdp+tp"), ("{{0,0}}", "none"),
        ("{{0,9}}", "1 pairs, no axis of the mesh"),
    ],
)  # fmt: skip
def test_pairs_move_along_axes(text, axes):
    assert MeshAxes({"fsdp": 2, "tp": 4}, ()).of_pairs(pairs_of(text)) == axes
