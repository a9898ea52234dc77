"""A PostgreSQL server of the tests' own, on a socket in a temporary folder; no port, nobody else's data."""

import os
import pwd
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg


def programs() -> Path | None:
    """The folder of the newest server that is installed; None where there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    other = shutil.which("initdb")
    return max(found, key=lambda path: int(path.parent.name), default=Path(other).parent if other else None)


class Postgres:
    """A running server. `database()` makes an empty database and gives its URL for SQLAlchemy."""

    def __init__(self, socket: Path):
        self.socket = socket

    def database(self) -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(host=str(self.socket), user="paritygate", dbname="postgres", autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return f"postgresql+psycopg://paritygate@/{name}?host={self.socket}"


@contextmanager
def running(binaries: Path) -> Iterator[Postgres]:
    """Made by `initdb`, started and at the end removed; as the user `postgres` where this process is root's."""
    folder = Path(mkdtemp(prefix="pg-"))  # short: the path of a socket has at most 107 bytes
    as_root = os.geteuid() == 0
    if as_root:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)

    def call(*command: str) -> None:
        user = "postgres" if as_root else None
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, user=user)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    data = str(folder / "data")
    call(str(binaries / "initdb"), "-D", data, "-U", "paritygate", "--auth=trust", "--no-sync", "--encoding=UTF8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=200"
    # Its output to a file: a server that holds our pipe would keep whoever reads it waiting.
    call(str(binaries / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield Postgres(folder)
    finally:
        call(str(binaries / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
