"""The catalogue of faults is whole: each kind, each patch applies, each site to be blamed is in the golden."""

import typing
from collections import Counter
from fnmatch import fnmatchcase

import pytest

from paritygate.catalog.select import case_of, families, fault_groups, layout_of, policies, select_faults
from paritygate.core.cell import SINGLE
from paritygate.core.fault import Fault, FaultKind
from paritygate.replay.plant import check

FAULTS = [fault for _, fault in select_faults()]


def test_there_are_enough_of_each_kind() -> None:
    kinds = Counter(fault.kind for fault in FAULTS)
    assert set(kinds) == set(typing.get_args(FaultKind))
    assert sum(kinds.values()) - kinds["harmless"] >= 60
    assert kinds["harmless"] >= 12


@pytest.mark.parametrize("group", fault_groups())
def test_every_patch_applies_and_changes_something(group: str) -> None:
    faults = fault_groups()[group].faults
    assert [text for fault in faults for text in check(fault.patches)] == []
    for fault in faults:
        assert fault.patches and all(patch.old != patch.new for patch in fault.patches), fault.name


@pytest.mark.parametrize("group", fault_groups())
def test_what_is_to_be_blamed_is_a_value_of_the_golden(group: str, golden_of) -> None:
    for fault in fault_groups()[group].faults:
        addresses = {port.address for port in golden_of(fault).ports if not port.is_input}
        found = [address for pattern in fault.at for address in addresses if fnmatchcase(address, pattern)]
        assert found or fault.kind == "harmless", f"{fault.name}: {fault.case} has none of {fault.at}"


def test_a_fault_has_a_site_and_a_cell_and_a_harmless_variant_has_neither() -> None:
    def wrong(fault: Fault) -> bool:
        if fault.kind == "harmless":
            return bool(fault.at or fault.hypothesis) or fault.sees != "f64"
        return not fault.at or bool(fault.equivalent) or fault.sees not in policies()

    assert [fault.name for fault in FAULTS if wrong(fault)] == []


def test_a_fault_of_sharding_takes_a_layout_that_the_preset_of_its_case_fits() -> None:
    for fault in FAULTS:
        assert fault.kind != "sharding" or fault.mesh != SINGLE, fault.name
        family = families()[case_of(fault)[1].family]
        preset = family.preset(case_of(fault)[1].preset)
        assert family.unfit(preset, layout_of(fault.mesh)) == "", fault.name
