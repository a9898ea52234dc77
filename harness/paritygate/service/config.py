"""What a service is told: folders, database, who may come unnamed, and every limit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Who may come without a token: everybody on this machine, or nobody.
Unnamed = Literal["loopback", "nobody"]


@dataclass(frozen=True)
class Limits:
    """What a service takes at most, so that no request costs more than it may."""

    body_bytes: int = 1 << 20  # of a request that is no file
    file_bytes: int = 1 << 30  # of a file of a run, unpacked
    run_bytes: int = 4 << 30
    run_files: int = 256
    run_rows: int = 1_000_000
    open_uploads: int = 64  # of one token
    upload_s: float = 24 * 3600  # after which one that nobody goes on with is dropped
    piece_s: float = 60.0  # until the next piece of a body
    session_s: float = 12 * 3600  # that a browser stays logged in
    page_rows: int = 1_000  # of any list
    text: int = 256  # of any parameter, in characters
    compared_rows: int = 400_000  # of both sides
    stream_s: float = 3600  # that a stream of events lasts; its reader comes again
    streams: int = 64
    reader_streams: int = 16  # of one token
    event_s: float = 7 * 24 * 3600  # after which what happened is forgotten
    queued_jobs: int = 1_000  # of one project that have not ended
    job_cases: int = 256
    job_cells: int = 256
    attempts: int = 5  # at a task whose leases ran out
    finish_s: float = 600  # that the last step of a task may take: its run is checked and indexed


@dataclass(frozen=True)
class ServiceConfig:
    """`database` is an SQLAlchemy URL; `runs` and `golden` are those of this machine, served as the project `local`
    where `unnamed` is `loopback`; `hosts` are further names that browsers may reach the service by."""

    data: Path
    database: str
    runs: Path
    golden: Path
    unnamed: Unnamed = "nobody"
    hosts: tuple[str, ...] = ()
    lease_s: float = 60.0
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def beside(
        cls,
        data: Path,
        runs: Path,
        golden: Path,
        database: str = "",
        unnamed: Unnamed = "nobody",
        hosts: tuple[str, ...] = (),
    ) -> "ServiceConfig":
        """With SQLite in `data` where no database is named."""
        return cls(data, database or f"sqlite:///{data / 'service.db'}", runs, golden, unnamed, hosts)
