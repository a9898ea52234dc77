"""The candidates that a worker has: checkouts, each at a revision of git, and what its catalog knows."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paritygate.core.errors import InfrastructureError, UsageError

_ASKED_S = 120.0


@dataclass(frozen=True)
class Candidate:
    """A checkout, the interpreter that it is replayed with, its revision, and the suites of its catalog."""

    folder: Path
    interpreter: str
    revision: str
    suites: tuple[str, ...]


def find(folder: Path, known: Candidate | None = None) -> Candidate:
    """The candidate in a folder. What was `known` of its suites is not asked again at the same revision.

    Raises UsageError where the folder is no checkout, or its command line does not work.
    """
    revision = revision_of(folder)
    if known is not None and known.revision == revision:
        return known
    own = folder / ".venv" / "bin" / "python"
    interpreter = str(own if own.is_file() else sys.executable)
    return Candidate(folder, interpreter, revision, _suites(folder, interpreter))


def revision_of(folder: Path) -> str:
    """The commit of a checkout; with `-dirty` behind it where anything lies there that is not of the commit."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD^{commit}").strip()
    return commit + ("-dirty" if _git(folder, "status", "--porcelain") else "")


def _git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_ASKED_S,
            env=environment | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as reason:
        raise InfrastructureError("git does not answer", where=str(folder), got=str(reason)) from None
    if done.returncode:
        raise UsageError(
            "candidate has no revision",
            where=str(folder),
            expected="a checkout of git with a commit",
            got=done.stderr.strip()[:400],
            try_="--candidate FOLDER",
        )
    return done.stdout


def _suites(folder: Path, interpreter: str) -> tuple[str, ...]:
    command = command_of(interpreter, "list", "families", "--json")
    done = subprocess.run(
        command, cwd=folder, env=environment_of({}), capture_output=True, text=True, timeout=_ASKED_S, check=False
    )
    try:
        families = json.loads(done.stdout) if done.returncode == 0 else None
        return (
            tuple(sorted({suite for family in families or () for suite in family["suites"]})) if families else _no(done)
        )
    except (ValueError, KeyError, TypeError):
        return _no(done)


def _no(done: "subprocess.CompletedProcess[str]") -> tuple[str, ...]:
    raise UsageError(
        "candidate's command line does not work",
        where=" ".join(done.args),
        got=(done.stderr or done.stdout).strip()[-400:],
        try_="paritygate doctor, in that folder",
    )


def command_of(interpreter: str, *arguments: str) -> Sequence[str]:
    return [interpreter, "-m", "paritygate", *arguments]


def environment_of(more: Mapping[str, str]) -> dict[str, str]:
    """What a candidate's process is given: not the token, for it runs code of the candidate; nothing of a CI's own."""
    dropped = ("PARITYGATE_TOKEN", "PARITYGATE_SERVER", "PARITYGATE_DEBUG", "PARITYGATE_RUNS", "CI")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}
