"""What a project of a service keeps beside its runs: what it is, where each run is from, which are pinned."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from paritygate.core.codec import canonical


@dataclass(frozen=True)
class ProjectInfo:
    """The content of `project.json`."""

    name: str
    created: float  # seconds since 1970, UTC


@dataclass(frozen=True)
class FileHash:
    """A file of an uploaded run."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Arrival:
    """The content of `upload.json`: where an uploaded run is from, who sent it and when, and what it was made of then.

    `number` counts the runs of its project, in the order of arrival, from 1 on; the service gives it.
    """

    branch: str
    commit: str
    pull_request: str
    by: str  # the token's name
    arrived: float  # seconds since 1970, UTC
    number: int
    files: Mapping[str, FileHash] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What tells this run from one of other content: the sha256 over the names and hashes of its files."""
        return hashlib.sha256(canonical({name: each.sha256 for name, each in self.files.items()}).encode()).hexdigest()


@dataclass(frozen=True)
class Pin:
    """The content of `pin.json`: who keeps a run from being pruned, since when, and why."""

    by: str
    at: float  # seconds since 1970, UTC
    reason: str


@dataclass(frozen=True)
class Leased:
    """A task, and the right to it for `left_s` seconds from when it was asked for. No `cases` are all of the suite."""

    task: int
    lease: str
    left_s: float
    project: str
    job: int
    attempt: int
    suite: str
    cases: tuple[str, ...]
    cells: tuple[str, ...]
    mode: str
    revision: str
