"""Mesh layouts: names, rules, and how they split an array, which is how the candidate's own rules split it."""

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh, AxisType

from jax_llama4.sharding import LOGICAL_AXES, Placement, Rules
from paritygate.catalog.meshes import KINDS, MESHES, batch_ways, layout, parse_layout
from paritygate.catalog.select import layout_of, select_cells
from paritygate.core.errors import UsageError
from paritygate.replay.job import VIRTUAL_DEVICES


@pytest.mark.parametrize("name", MESHES)
def test_every_layout_is_named_by_its_axes_and_fits_the_virtual_devices(name: str) -> None:
    row = MESHES[name]
    assert row.name == name and parse_layout(name) == row
    assert 1 <= row.devices <= VIRTUAL_DEVICES
    assert set(row.rules) <= set(LOGICAL_AXES)
    assert batch_ways(row.axes) == row.ways(row.rules.get("batch", ()))


def test_every_kind_of_axis_and_both_types_are_audited() -> None:
    assert {kind for row in MESHES.values() for kind, _ in row.axes} == set(KINDS)
    assert {row.types for row in MESHES.values()} == {"auto", "explicit"}
    assert [name for name, row in MESHES.items() if row.devices == 1] == ["single"]


def test_a_layout_that_is_not_in_the_catalog_is_known_by_its_name() -> None:
    row = layout_of("fsdp16tp4-explicit")
    assert (row.devices, row.types, row.rules["embed"], row.rules["vocab"]) == (64, "explicit", ("fsdp",), ("tp",))
    assert layout_of("dp2ep4").rules["batch"] == ("dp", "ep")
    with pytest.raises(UsageError, match="unknown mesh layout: tp-explicit"):
        layout_of("tp-explicit")


def test_all_meshes_are_cells() -> None:
    assert [cell.mesh for cell in select_cells("f64 x all-meshes x cpu")] == list(MESHES)


AXES = st.lists(st.sampled_from(sorted(KINDS)), unique=True, max_size=3).flatmap(
    lambda kinds: st.tuples(*(st.tuples(st.just(kind), st.sampled_from((2, 3, 4))) for kind in kinds))
)


@given(AXES, st.lists(st.tuples(st.sampled_from(LOGICAL_AXES), st.integers(1, 24)), min_size=1, max_size=4))
def test_an_array_is_split_as_the_candidates_own_rules_split_it(axes, dimensions) -> None:
    if not axes:
        return
    row = layout(axes)
    names, sizes = zip(*axes, strict=True)
    placement = Placement(AbstractMesh(sizes, names, (AxisType.Auto,) * len(names)), Rules.of(**row.rules))  # pyright: ignore[reportArgumentType]
    logical, shape = zip(*dimensions, strict=True)
    theirs = placement.fitted(shape, logical).spec
    ours = jax.sharding.PartitionSpec(*(found or None for found in row.split(logical, shape)))
    assert ours == theirs
