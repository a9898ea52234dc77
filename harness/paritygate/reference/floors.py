"""Adds to goldens that are there the noise floors of peers that they lack, such as those of an emulated arithmetic.

Reads goldens and the catalog, and rewrites manifests: tensors, and the floors that are there, stay as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from paritygate.catalog.select import families
from paritygate.core.cell import DtypePolicy
from paritygate.core.errors import GoldenError
from paritygate.core.family import Case, Family
from paritygate.core.golden import Golden, GoldenPort
from paritygate.reference.build import with_peers
from paritygate.reference.capture import capture
from paritygate.store.golden import GoldenStore

V = TypeVar("V")


def add_floors(cases: list[Case], suite: str, store: GoldenStore, say: Callable[[str], None]) -> list[Golden]:
    """Captures each case again with the peers that its golden lacks, and keeps their floors, dtypes and values.

    A golden that lacks none is left as it is. Raises GoldenError where a golden is missing or damaged, or where the
    reference is given other inputs or weights today.
    """
    known, goldens = families(), []
    store.require(suite, [case.id for case in cases])
    with store.lock(exclusive=False):
        for case in cases:
            golden = store.read(suite, case.id)
            lacking = {name: policy for name, policy in with_peers().items() if name not in golden.peers}
            if lacking:
                golden = _extended(golden, lacking, suite, store, known)
                store.write(suite, golden)
            goldens.append(golden)
            say(f"{case.id}: floors of {', '.join(lacking) or 'no further policy'}")
    return goldens


def _extended(
    golden: Golden,
    lacking: Mapping[str, DtypePolicy],
    suite: str,
    store: GoldenStore,
    known: Mapping[str, Family],
) -> Golden:
    with TemporaryDirectory() as folder:
        place = GoldenStore(Path(folder))
        seed = int(golden.provenance["prompt_seed"])
        (fresh,) = capture([golden.case], suite, place, lambda line: None, known, policies=lacking, first_seed=seed)
        for what in ("inputs", "weights"):
            if (ours := getattr(fresh, what)) != (kept := getattr(golden, what)):
                differing = sorted(name for name in ours.keys() | kept.keys() if ours.get(name) != kept.get(name))
                raise GoldenError(
                    f"the reference has other {what} today than the golden",
                    where=f"{suite}/{golden.case.id}",
                    got=", ".join(differing),
                    try_=f"paritygate capture {golden.case.id}",
                )
        for values in (of for sides in fresh.peer_values.values() for of in sides.values()):
            for ref in values.values():
                store.put(place.tensor(ref))
    found = {(port.site, port.port, port.call): port for port in fresh.ports}
    return replace(
        golden,
        ports=tuple(_joined(port, found[port.site, port.port, port.call]) for port in golden.ports),
        peers={**golden.peers, **fresh.peers},
        peer_values=_merged(golden.peer_values, fresh.peer_values),
        provenance={**golden.provenance, "floors_added": {**golden.provenance.get("floors_added", {}), **_said(fresh)}},
    )


def _joined(port: GoldenPort, fresh: GoldenPort) -> GoldenPort:
    return replace(port, dtypes={**port.dtypes, **fresh.dtypes}, floors=_merged(port.floors, fresh.floors))


def _merged(kept: Mapping[str, Mapping[str, V]], fresh: Mapping[str, Mapping[str, V]]) -> dict[str, dict[str, V]]:
    return {mode: {**kept.get(mode, {}), **fresh.get(mode, {})} for mode in dict.fromkeys([*kept, *fresh])}


def _said(fresh: Golden) -> dict[str, Any]:
    """By policy, where and by what its floors were taken."""
    about = {name: fresh.provenance[name] for name in ("versions", "machine", "cpu_capability")}
    return dict.fromkeys(fresh.peers, about)
