"""Folders of a family of one's own, and the command line called in them as a user would."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy.forked import FORKED

TOY = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Workplace:
    """Folders of goldens and runs, and the directory that holds the family."""

    root: Path
    extension: Path = TOY
    golden: str = "golden"

    @property
    def environ(self) -> dict[str, str]:
        return os.environ | {
            "PARITYGATE_PATH": str(self.extension),
            "PARITYGATE_GOLDEN": str(self.root / self.golden),
            "PARITYGATE_RUNS": str(self.root / "runs"),
            "XDG_CACHE_HOME": str(self.root.parent / "cache"),  # one of all tests of a process
            "PYTHONDONTWRITEBYTECODE": "1",
            "CI": "",  # as on a desk, also where the tests run in one
        }

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "paritygate", *arguments]

    def call(self, *arguments: str) -> Said:
        return Said(*FORKED.call(arguments, self.root, self.environ))

    def done(self, *arguments: str, code: int = 0) -> Said:
        said = self.call(*arguments)
        assert said.code == code, f"{arguments}\n{said.out}\n{said.err}"
        return said

    def run_folders(self) -> set[Path]:
        return set((self.root / "runs").glob("*"))
