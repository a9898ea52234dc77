"""Golden manifests, `golden/<suite>/<case>.json`, and the check that everything they name is there and whole."""

import fcntl
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paritygate.core.codec import from_json, readable
from paritygate.core.errors import GoldenError, HarnessError
from paritygate.core.golden import GOLDEN_FORMAT, Golden, TensorRef
from paritygate.core.run import write_atomic
from paritygate.store.objects import ObjectStore

NOT_SUITES = {"objects", "baselines", "programs"}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: an object or a manifest, and the ports that it serves."""

    object: str
    problem: str
    ports: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.ports[:4]) + (f" and {len(self.ports) - 4} more" if len(self.ports) > 4 else "")
        return f"{self.object}: {self.problem}" + (f"; serves {shown}" if shown else "")


class GoldenStore:
    """The folder `golden/`. A case's manifest is replaced last and whole, so a killed capture leaves the old golden."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.objects = ObjectStore(self.root / "objects")

    def path(self, suite: str, case_id: str) -> Path:
        return self.root / suite / f"{case_id}.json"

    def suites(self) -> list[str]:
        """Suites that have a golden."""
        folders = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(f.name for f in folders if f.is_dir() and f.name not in NOT_SUITES and any(f.glob("*.json")))

    def cases(self, suite: str) -> list[str]:
        return sorted(path.stem for path in (self.root / suite).glob("*.json"))

    def manifest_hash(self, suite: str, case_id: str) -> str:
        try:
            return hashlib.sha256(self.path(suite, case_id).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise self._missing(suite, case_id) from None

    def read(self, suite: str, case_id: str) -> Golden:
        """Raises GoldenError where the manifest is missing, unreadable or of another format."""
        path = self.path(suite, case_id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise self._missing(suite, case_id) from None
        except OSError as reason:
            raise GoldenError("golden manifest cannot be read", where=str(path), got=str(reason)) from reason
        return parse(content, case_id, str(path))

    def _missing(self, suite: str, case_id: str) -> GoldenError:
        return GoldenError(
            "no golden",
            where=f"{suite}/{case_id}",
            expected=str(self.path(suite, case_id)),
            try_=f"paritygate capture {case_id}",
        )

    def write(self, suite: str, golden: Golden) -> Path:
        path = self.path(suite, golden.case.id)
        write_atomic(path, readable(replace(golden, digest=golden.content_digest())).encode())
        return path

    def put(self, array: np.ndarray) -> TensorRef:
        return self.objects.put(array)

    def tensor(self, ref: TensorRef) -> np.ndarray:
        return self.objects.get(ref)

    def verify(self, suite: str | None = None, cases: list[str] | None = None) -> list[Finding]:
        """Everything that is wrong with the goldens of a suite, of some of its cases, or of all suites."""
        findings: list[Finding] = []
        serves: dict[str, list[str]] = defaultdict(list)
        for name in [suite] if suite else self.suites():
            for case_id in cases if cases is not None else self.cases(name):
                try:
                    golden = self.read(name, case_id)
                except GoldenError as reason:
                    findings.append(Finding(f"{name}/{case_id}", reason.what, ()))
                    continue
                for use, ref in uses(golden):
                    serves[ref.object].append(f"{case_id} {use}")
        for name in sorted(serves):
            if problem := self.objects.check(name):
                findings.append(Finding(f"object {name}", problem, tuple(serves[name])))
        return findings

    def require(self, suite: str, cases: list[str]) -> None:
        """Raises GoldenError, naming every finding, unless all goldens of `cases` are there and whole."""
        if findings := self.verify(suite, cases):
            raise GoldenError(
                f"{len(findings)} golden {'object is' if len(findings) == 1 else 'objects are'} missing or corrupt",
                where=suite,
                got="\n            ".join(map(str, findings[:20])),
                try_="restore golden/ from git, or paritygate capture",
            )

    def require_unchanged(self, suite: str, hashes: Mapping[str, str]) -> None:
        """Raises GoldenError unless each case's manifest has the sha256 that a run was replayed on."""
        for case, replayed in hashes.items():
            found = self.manifest_hash(suite, case)
            if found != replayed:
                raise GoldenError(
                    "golden has changed since the run",
                    where=f"{suite}/{case}",
                    expected=replayed[:12],
                    got=found[:12],
                    try_=f"paritygate run {suite}",
                )

    def gc(self) -> list[str]:
        """Removes the objects that no manifest names; refuses while a manifest cannot be read."""
        with self.lock(exclusive=True):
            for litter in self.root.rglob(".*.tmp"):  # of captures that were killed while they wrote, and of pulls
                litter.unlink()
            kept = {
                ref.object
                for suite in self.suites()
                for case_id in self.cases(suite)
                for _, ref in uses(self.read(suite, case_id))
            }
            removed = [name for name in self.objects.names() if name not in kept]
            for name in removed:
                self.objects.remove(name)
        return removed

    @contextmanager
    def lock(self, *, exclusive: bool) -> Iterator[None]:
        """Held shared by a capture, whose objects no manifest names yet, and by a push; alone by `gc` and by a pull."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GoldenError(
                    "golden store is in use", where=str(self.root), try_="wait for the other capture, pull or gc to end"
                ) from None
            yield


def parse(content: bytes, case_id: str, where: str) -> Golden:
    """The golden that a manifest's file holds. Raises GoldenError where it is unreadable, of another format or case.

    Whatever the bytes are, nothing else is raised: they may come from elsewhere.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as reason:
        raise GoldenError("golden manifest cannot be read", where=where, got=str(reason)) from reason
    found = data.get("format") if isinstance(data, dict) else None
    if found != GOLDEN_FORMAT:
        raise GoldenError(
            "golden of another format",
            where=where,
            expected=str(GOLDEN_FORMAT),
            got=f"{found!s:.80}",
            try_=f"paritygate capture {case_id}",
        )
    try:
        golden = from_json(Golden, data, case_id)
        digest = golden.content_digest()
    except HarnessError as reason:
        raise GoldenError(
            "golden manifest is corrupt", where=where, got=reason.what + " at " + reason.where
        ) from reason
    except (ValueError, RecursionError) as reason:  # no number, or nested without an end
        raise GoldenError("golden manifest is corrupt", where=where, got=str(reason)) from reason
    if golden.digest != digest or golden.case.id != case_id:
        raise GoldenError(
            "golden manifest was changed after it was captured",
            where=where,
            expected=f"{case_id}, digest {digest[:12]}",
            got=f"{golden.case.id[:200]}, digest {golden.digest[:12]}",
            try_=f"restore it from git, or paritygate capture {case_id}",
        )
    return golden


def uses(golden: Golden) -> Iterator[tuple[str, TensorRef]]:
    """Every tensor that a golden names, with the port, input or weight that it serves."""
    yield from ((port.address, port.tensor) for port in golden.ports)
    yield from ((f"case:{name}", ref) for name, ref in golden.inputs.items())
    yield from ((f"weight {name}", ref) for name, ref in golden.weights.items())
    for mode, policies in golden.peer_values.items():
        for policy, values in policies.items():
            yield from ((f"{address} of the peer in {policy}, {mode}", ref) for address, ref in values.items())
