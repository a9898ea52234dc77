"""The hypothesis that a fault of the catalog names is a row of its family."""

from paritygate.catalog.select import case_of, families, fault_groups


def test_every_named_hypothesis_is_a_row():
    known = families()
    named = [
        (fault.name, fault.hypothesis, {row.name for row in known[case_of(fault)[1].family].hypotheses})
        for group in fault_groups().values()
        for fault in group.faults
        if fault.hypothesis
    ]
    assert len(named) > 20
    assert [(fault, name) for fault, name, rows in named if name not in rows] == []
