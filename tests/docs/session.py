"""A reader's terminal: a folder that stands for a clone, and a shell that keeps its folder and its variables."""

import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from docs.documents import DOCS, ROOT, Block, Page, fits, steps

# What pages take from a clone; each is there, or no page that is run names it.
STAND_IN = ("golden/budgets.toml", "tests/toy", "examples/own_model")
_LITTER = shutil.ignore_patterns("__pycache__")
# What CI, pytest and our own settings would change in what is printed.
_NOT_A_READERS = re.compile(r"(?:PARITYGATE|GITHUB|PYTEST)_.*|CI")
_PER_COMMAND_S = 280


@dataclass
class Session:
    """`folder` is the clone. What a command exports, and where it goes, holds for the next one too."""

    folder: Path
    state: Path
    cache: Path  # of what was compiled, for all pages that go on from one
    code: int = 0

    @classmethod
    def begin(cls, root: Path) -> "Session":
        clone, state = root / "clone", root / "state"
        state.mkdir(parents=True)
        for part in STAND_IN:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, clone / part, ignore=_LITTER)
            elif (ROOT / part).is_file():
                (clone / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / part, clone / part)
        (state / "cwd").write_text(str(clone))
        (state / "exports").write_text("")
        return cls(clone, state, state / "cache")

    def another(self, root: Path) -> "Session":
        """A copy of everything as it is now, for a page that goes on from here."""
        shutil.copytree(self.folder, root / "clone")
        shutil.copytree(self.state, root / "state", ignore=shutil.ignore_patterns("cache"))
        where = (self.state / "cwd").read_text().replace(str(self.folder), str(root / "clone"))
        (root / "state" / "cwd").write_text(where)
        return Session(root / "clone", root / "state", cache=self.cache)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _NOT_A_READERS.fullmatch(name)}
        return kept | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(self.cache),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def do(self, page: Page) -> None:
        """Every block of a page, in order. Raises AssertionError at the first that does not do what is shown."""
        for block in page.run:
            if block.language == "{literalinclude}":
                self.write(block, (DOCS / page.name).parent)
            elif block.language == "python":
                said = self.call(f"python - <<'END_OF_BLOCK'\n{block.text}\nEND_OF_BLOCK")
                self._compare(block.output, said, f"{page.name}:{block.line}")
            else:
                self._session(block, page.name)

    def write(self, block: Block, beside: Path) -> None:
        file = Path((self.state / "cwd").read_text().strip()) / block.text
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(beside / block.file, file)

    def call(self, command: str) -> str:
        """What a command prints on both streams; `code` is its exit code then."""
        exports, cwd = (shlex.quote(str(self.state / name)) for name in ("exports", "cwd"))
        script = (
            f'. {exports}; cd "$(cat {cwd})" || exit 99; (exit {self.code})\n{command}\n'
            f"code=$?; export -p > {exports}; pwd > {cwd}; exit $code\n"
        )
        child = subprocess.run(
            ["bash", "-c", script], env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=_PER_COMMAND_S,
        )  # fmt: skip
        self.code = child.returncode
        return child.stdout

    def _session(self, block: Block, name: str) -> None:
        listed = steps(block)
        for step, following in zip(listed, [*listed[1:], None], strict=True):
            said, where = self.call(step.command), f"{name}:{step.line}: {step.command}"
            self._compare(step.output, said, where, told=following is not None and following.command == "echo $?")

    def _compare(self, shown: str, printed: str, where: str, *, told: bool = False) -> None:
        """`told` is whether the next command shows the exit code, which then need not be 0."""
        if not fits(shown, printed):
            lines = difflib.unified_diff(shown.splitlines(), printed.splitlines(), "shown", "printed", lineterm="")
            raise AssertionError("\n".join([where, *lines, "", "all that is printed:", printed]))
        if self.code and not told:
            raise AssertionError(f"{where}\nends with exit code {self.code}, which the page does not show\n{printed}")
