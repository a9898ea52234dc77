"""Where in the repository a line of a candidate is, so that GitHub can show what is wrong beside it.

Nothing of the candidate is imported: its packages are only looked for.
"""

from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from paritygate.core.run import Run
from paritygate.report.github import Spot


class Sources:
    """The files of a run's candidates, seen from the root of the repository. A file outside of it is nowhere."""

    def __init__(self, run: Run, root: Path):
        self.run, self.root = run, root.resolve()

    def of_site(self, case: str, site: str) -> Spot:
        """Where the module of a site is called; nowhere in runs that do not say."""
        return self._spot(self._of_sites.get((case, site), ""))

    def of_line(self, line: str, where: str) -> Spot:
        """The file of `moe.py:88`: that of the module in `where`, `module:function`, else the only one of that name."""
        name, _, number = line.partition(":")
        module = where.partition(":")[0]
        if module:
            return self._spot(f"{'/'.join(module.split('.')[:-1] or ['.'])}/{name}:{number}".removeprefix("./"))
        found = [file for file in self._files if file.name == name]
        return self._relative(found[0], number) if len(found) == 1 else Spot()

    def _spot(self, source: str) -> Spot:
        path, _, number = source.rpartition(":")
        top = path.partition("/")[0].removesuffix(".py")
        base = self._bases.get(top) if path else None
        return self._relative(base / path, number) if base else Spot()

    def _relative(self, file: Path, number: str) -> Spot:
        try:
            inside = file.resolve().relative_to(self.root)
        except ValueError:
            return Spot()
        return Spot(inside.as_posix(), int(number)) if number.isdecimal() and file.is_file() else Spot()

    @cached_property
    def _of_sites(self) -> dict[tuple[str, str], str]:
        return {(each.case, site): at for each in self.run.inspections() for site, at in each.sources.items()}

    @cached_property
    def _packages(self) -> list[str]:
        """The top-level packages of the candidates that were run."""
        named = [name for worker in self.run.info.workers for name in worker.get("candidate", ())]
        named += [at.partition("/")[0].partition(".py")[0] for at in self._of_sites.values()]
        return list(dict.fromkeys(named))

    @cached_property
    def _bases(self) -> dict[str, Path]:
        """By package, the folder that it is imported from."""
        return dict(self._found())

    @cached_property
    def _files(self) -> list[Path]:
        """Every file of the candidates' packages."""
        files: list[Path] = []
        for name, base in self._bases.items():
            files += sorted((base / name).rglob("*.py")) if (base / name).is_dir() else [base / f"{name}.py"]
        return files

    def _found(self) -> Iterator[tuple[str, Path]]:
        for name in self._packages:
            try:
                spec = find_spec(name)
            except (ImportError, ValueError):
                continue
            for folder in spec.submodule_search_locations or () if spec else ():
                yield name, Path(folder).parent
            if spec and spec.origin and not spec.submodule_search_locations:
                yield name, Path(spec.origin).parent
