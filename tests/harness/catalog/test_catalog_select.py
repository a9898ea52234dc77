"""Several cases of a suite in one name."""

import pytest

from paritygate.catalog.select import select_cases
from paritygate.core.errors import UsageError


def test_within_a_suite_commas_separate_cases() -> None:
    every = [case.id for case in select_cases("*", "tiny")]
    assert len(every) > 3
    first, second, third = every[:3]
    assert [case.id for case in select_cases(f"{third},{first},{second},{first}", "tiny")] == [first, second, third]
    with pytest.raises(UsageError, match=r"unknown suite, preset or case: no-such"):
        select_cases(f"{first},no-such", "tiny")
    with pytest.raises(UsageError, match="unknown suite, preset or case"):
        select_cases(f"{first},", "tiny")
    with pytest.raises(UsageError, match="unknown suite, preset or case"):
        select_cases(f"{first},{second}")
