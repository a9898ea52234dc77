"""A reseeded family: other weights and other text, and nothing else."""

from dataclasses import replace

import pytest

from paritygate.catalog.reseed import reseeded
from paritygate.catalog.select import families, spec_hash, suites
from paritygate.core.errors import UsageError
from paritygate.core.family import Family


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_seeds_are_all_that_changes(family: Family) -> None:
    other = reseeded(family, 3)
    restored = replace(
        other,
        presets=tuple(replace(p, seed=family.preset(p.name).seed) for p in other.presets),
        prompts=tuple(replace(p, seed=family.prompt(p.name).seed) for p in other.prompts),
    )
    assert restored == family
    assert reseeded(family, 3) == other


def test_the_first_is_the_family_itself() -> None:
    assert all(reseeded(family, 0) == family for family in families().values())


def test_no_two_seeds_draw_alike() -> None:
    drawn = [
        {made.seed for family in families().values() for made in getattr(reseeded(family, seed), of)}
        for seed in range(30)
        for of in ("presets", "prompts")
    ]
    for of in (drawn[::2], drawn[1::2]):
        assert len(set.union(*of)) == sum(map(len, of))


def test_a_golden_of_one_seed_is_stale_for_another() -> None:
    known = families()
    for case in {case for cases in suites().values() for case in cases}:
        hashes = {spec_hash(case, reseeded(known[case.family], seed)) for seed in range(3)}
        assert len(hashes) == 3


def test_a_seed_below_nought_is_refused() -> None:
    with pytest.raises(UsageError, match="0 or more"):
        reseeded(families()["llama4"], -1)
