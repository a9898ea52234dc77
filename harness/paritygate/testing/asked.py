"""What a session is asked for: the command line, else the ini file, else the environment; and its parity cases."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from paritygate.cli.main import read_settings
from paritygate.cli.stages import select, select_modes
from paritygate.cli.verb import Settings
from paritygate.core.cell import Cell, Mode
from paritygate.core.errors import UsageError
from paritygate.core.family import Case, Family
from paritygate.core.registry import extend


@dataclass(frozen=True)
class Asked:
    """Which cases, in which cells and modes, as the options say it."""

    cases: str
    suite: str
    cells: str
    mode: str
    timeout_s: float


@dataclass(frozen=True)
class ParityCase:
    """One case in one cell, replayed in one mode: `tiny-scout.long/bf16/single/cpu/chained`.

    With `/SITE:PORT` behind it, that is what `paritygate show` calls a row.
    """

    suite: str
    case: Case
    cell: Cell
    mode: Mode

    def __str__(self) -> str:
        return f"{self.case.id}/{self.cell}/{self.mode}"


def asked_of(config: pytest.Config) -> tuple[Settings, Asked]:
    """Relative folders are the ini file's or, from the command line, those of the folder it was typed in."""

    def text(name: str) -> str:
        return str(config.getoption(f"parity_{name}") or config.getini(f"parity_{name}"))

    def folders(name: str) -> list[Path]:
        typed = config.getoption(f"parity_{name}")
        base = config.invocation_params.dir if typed else (config.inipath or config.rootpath / "pytest.ini").parent
        return [base / each for each in text(name).split(os.pathsep) if each]

    settings = read_settings(os.environ, ())
    settings = replace(settings, command=("pytest", *map(str, config.invocation_params.args)))
    for golden in folders("golden"):
        settings = replace(settings, golden=golden)
    for runs in folders("runs"):
        settings = replace(settings, runs=runs)
    if path := folders("path"):
        settings = replace(settings, extensions=tuple(each.resolve() for each in path))
    try:
        timeout_s = float(text("timeout") or 1800)
    except ValueError:
        raise UsageError("bad number of seconds", where=f"parity_timeout {text('timeout')}") from None
    return settings, Asked(text("cases"), text("suite"), text("cells"), text("mode") or "all", timeout_s)


def parity_cases(settings: Settings, asked: Asked) -> list[ParityCase]:
    """Every case in every cell and mode that it has, cell by cell, the float64 ones first: they tell what others mean.

    Read off the catalog alone, so that a golden that is missing is still asked for.
    """
    from paritygate.catalog.full import is_full, refuse_targets
    from paritygate.catalog.select import cells_of, families, policies, select_cells, suites
    from paritygate.store.golden import GoldenStore

    extend(settings.extensions)
    if not asked.cases and not asked.suite:
        raise UsageError(
            "no parity case is asked for",
            expected="--parity-suite or --parity-cases, or parity_suite or parity_cases in the ini file",
            try_=f"a suite: {', '.join(suites())}",
        )
    if is_full(asked.cases, asked.suite):
        raise UsageError("the suite full is compiled and never replayed", try_="paritygate run full")
    suite, cases = select(asked.cases, asked.suite, GoldenStore(settings.golden).suites())
    cells = select_cells(asked.cells or cells_of(suite))
    refuse_targets(cells)
    known, modes = families(), select_modes(asked.mode)
    peers = {name: policy.peer for name, policy in policies().items()}
    found = [
        ParityCase(suite, case, cell, mode)
        for cell in sorted(cells, key=lambda cell: bool(peers[cell.dtype]))
        for case in cases
        for mode in modes_of(known[case.family], case)
        if mode in modes
    ]
    if not found:
        raise UsageError("no case has that mode", where=asked.mode, got=", ".join(case.id for case in cases))
    return found


def modes_of(family: Family, case: Case) -> Iterable[Mode]:
    """The modes in which a golden of the case has values."""
    prompt = family.prompt(case.prompt)
    sites = family.sites_for(family.preset(case.preset), prompt)
    found = {mode for site in sites for mode in site.modes} | ({Mode.GRADIENT} if prompt.backward else set())
    return (mode for mode in Mode if mode in found)
