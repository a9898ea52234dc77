"""Adds to goldens that are there the noise floors of peers that they lack: of an emulated arithmetic, or on a GPU.

Reads goldens and the catalog, and rewrites manifests: tensors, and the floors that are there, stay as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from paritygate.catalog.select import families
from paritygate.core.cell import DtypePolicy
from paritygate.core.errors import GoldenError, InfrastructureError, UsageError
from paritygate.core.family import Case, Family
from paritygate.core.golden import Golden, GoldenPort, LowPrecision
from paritygate.core.progress import SILENT, Progress
from paritygate.reference.build import at_once, with_peers
from paritygate.reference.capture import capture, pieces_of
from paritygate.store.golden import GoldenStore

V = TypeVar("V")


def add_floors(
    cases: list[Case],
    suite: str,
    store: GoldenStore,
    say: Callable[[str], None],
    platform: str = "cpu",
    progress: Progress = SILENT,
) -> list[Golden]:
    """Captures each case again with the peers that its golden lacks, and keeps their floors, dtypes and values.

    Of another platform than the CPU only floors are kept, of the peers that multiply as torch does there. A golden that
    lacks none is left as it is. Raises GoldenError where a golden is missing or damaged, or where the
    reference is given other inputs or weights today; UsageError and InfrastructureError where torch has no such device.
    """
    known, device, goldens = families(), device_of(platform), []
    store.require(suite, [case.id for case in cases])
    with store.lock(exclusive=False):
        of_case = {case: _lacking(store.read(suite, case.id), platform) for case in cases}
        pieces = [piece for case in cases for piece in pieces_of([case], of_case[case]) if piece.size]
        progress.planned([pieces], noun="passes of the reference")
        for case, lacking in of_case.items():
            golden = store.read(suite, case.id)
            if lacking:
                golden = _extended(golden, lacking, suite, store, known, platform, device, progress)
                store.write(suite, golden)
            goldens.append(golden)
            on = "" if platform == "cpu" else f" on {platform}"
            say(f"{case.id}: floors of {', '.join(lacking) or 'no further policy'}{on}")
    return goldens


def device_of(platform: str) -> str:
    """What torch calls the device that peers of a platform run on."""
    if platform == "cpu":
        return "cpu"
    if platform != "gpu":
        raise UsageError("torch has no peer there", where=platform, expected="cpu or gpu")
    if not torch.cuda.is_available():
        raise InfrastructureError(
            "torch finds no gpu here",
            got=f"torch {version('torch')}, CUDA {torch.version.cuda or 'not built in'}",
            try_="a machine with a GPU and a CUDA build of torch; until then the floors of the CPU's peers stand in",
        )
    return "cuda"


def _lacking(golden: Golden, platform: str) -> dict[str, DtypePolicy]:
    if platform == "cpu":
        return {name: policy for name, policy in with_peers().items() if name not in golden.peers}
    plain = at_once(with_peers())
    return {name: policy for name, policy in plain.items() if not golden.has_floors_on(platform, name)}


def _extended(
    golden: Golden,
    lacking: Mapping[str, DtypePolicy],
    suite: str,
    store: GoldenStore,
    known: Mapping[str, Family],
    platform: str,
    device: str,
    progress: Progress,
) -> Golden:
    with TemporaryDirectory() as folder:
        place = GoldenStore(Path(folder))
        seed = int(golden.provenance["prompt_seed"])
        products: LowPrecision = "auto" if platform == "cpu" else "native"
        with torch.backends.cudnn.flags(allow_tf32=False):  # its default rounds float32 convolutions
            (fresh,) = capture(
                [golden.case], suite, place, lambda line: None, known, products, lacking, seed, device, progress
            )  # fmt: skip
        for what in ("inputs", "weights"):
            if (ours := getattr(fresh, what)) != (kept := getattr(golden, what)):
                differing = sorted(name for name in ours.keys() | kept.keys() if ours.get(name) != kept.get(name))
                raise GoldenError(
                    f"the reference has other {what} today than the golden",
                    where=f"{suite}/{golden.case.id}",
                    got=", ".join(differing),
                    try_=f"paritygate capture {golden.case.id}",
                )
        if platform != "cpu":
            return _with_floors_on(platform, golden, fresh)
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


def _with_floors_on(platform: str, golden: Golden, fresh: Golden) -> Golden:
    found = {(port.site, port.port, port.call): port.floors for port in fresh.ports}

    def extended(port: GoldenPort) -> GoldenPort:
        floors = _merged(port.floors_on.get(platform, {}), found[port.site, port.port, port.call])
        return replace(port, floors_on={**port.floors_on, platform: floors} if floors else port.floors_on)

    said = golden.provenance.get("floors_on", {})
    about = {**said.get(platform, {}), **_said(fresh, platform)}
    return replace(
        golden,
        ports=tuple(map(extended, golden.ports)),
        provenance={**golden.provenance, "floors_on": {**said, platform: about}},
    )


def _joined(port: GoldenPort, fresh: GoldenPort) -> GoldenPort:
    return replace(port, dtypes={**port.dtypes, **fresh.dtypes}, floors=_merged(port.floors, fresh.floors))


def _merged(kept: Mapping[str, Mapping[str, V]], fresh: Mapping[str, Mapping[str, V]]) -> dict[str, dict[str, V]]:
    return {mode: {**kept.get(mode, {}), **fresh.get(mode, {})} for mode in dict.fromkeys([*kept, *fresh])}


def _said(fresh: Golden, platform: str = "cpu") -> dict[str, Any]:
    """By policy, where and by what its floors were taken."""
    about = {name: fresh.provenance[name] for name in ("versions", "machine", "cpu_capability")}
    if platform == "gpu" and torch.cuda.is_available():
        about["device"] = torch.cuda.get_device_name()
    return dict.fromkeys(fresh.peers, about)
