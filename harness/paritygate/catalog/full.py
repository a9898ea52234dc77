"""The suite `full`: passes of the published sizes, compiled for devices that need not be there, and their choice."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import get_args

from paritygate.catalog.meshes import parse_axes
from paritygate.catalog.select import policies, select_cells
from paritygate.catalog.sizes import SIZES
from paritygate.catalog.targets import default_axes, parse_target
from paritygate.core.cell import Cell, written
from paritygate.core.compilation import Order, Pass, require_fitting
from paritygate.core.errors import UsageError, unknown_name

FULL = "full"
_CASE = re.compile(
    r"(?P<size>[^.]+)\.(?P<mode>[a-z]+)-(?P<batch>[1-9]\d*)x(?P<length>[1-9]\d*)(?:-(?P<dispatch>[a-z]+))?"
)


def full_cases() -> list[str]:
    """The cases of the suite, `scout.prefill-16x2048`."""
    return [f"{size.name}.{each}" for size in SIZES.values() for each in size.passes]


def is_full(text: str, suite: str) -> bool:
    """Whether what a run is asked for is of this suite."""
    return FULL in (text, suite) or (not suite and bool(_CASE.fullmatch(text)))


def select_full(text: str) -> list[str]:
    """The cases that `text` names: the suite, a size, or a glob; a case that is not of the suite may be spelled out."""
    known = full_cases()
    if text in ("", FULL):
        return known
    if found := [case for case in known if case.partition(".")[0] == text or fnmatchcase(case, text)]:
        return found
    if _CASE.fullmatch(text):
        order_of(text, Cell("bf16", "single", "cpu:1"))  # every part of it is looked at
        return [text]
    raise unknown_name("size or case of the suite full", text, [FULL, *SIZES, *known])


def select_orders(text: str, expression: str, recorded: Iterable[tuple[str, str]]) -> list[Order]:
    """The passes to compile: each case in each cell that its size is for or, without an expression, that is recorded.

    `recorded` are names of cases and cells. Raises UsageError on cells of a platform, and on meshes that do not have as
    many devices as their target.
    """
    cases = select_full(text)
    if not expression:
        return [order_of(case, Cell.parse(cell)) for case, cell in recorded if case in cases]
    cells = select_cells(expression)
    require_targets(cells)
    return [order for case in cases for cell in cells if _is_for(order := order_of(case, cell))]


def require_targets(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if not cell.is_compiled:
            raise UsageError(
                "full sizes are compiled, and not run",
                where=str(cell),
                expected="a target in the place of the platform",
                try_='--cells "bf16 x fsdp16tp4 x v5p:4x4x4"',
            )


def refuse_targets(cells: Sequence[Cell]) -> None:
    """Raises UsageError on cells that nothing can be replayed in."""
    for cell in cells:
        if cell.is_compiled:
            raise UsageError(
                "nothing runs on devices that are not here",
                where=str(cell),
                expected="a platform: cpu, gpu or tpu",
                try_=f'paritygate run {FULL} --cells "{cell.dtype} x {cell.mesh} x {cell.platform}"',
            )


def order_of(case: str, cell: Cell) -> Order:
    """A case of the suite in a cell; raises UsageError that says what is wrong with either."""
    found = _CASE.fullmatch(case)
    if found is None:
        raise UsageError("bad case", where=repr(case), expected="size.pass, such as scout.prefill-16x2048")
    if found["size"] not in SIZES:
        raise unknown_name("size", found["size"], list(SIZES))
    if cell.dtype not in policies():
        raise unknown_name("dtype policy", cell.dtype, list(policies()))
    modes: dict[str, Pass] = {name: name for name in get_args(Pass)}
    if found["mode"] not in modes:
        raise unknown_name("pass", found["mode"], list(modes))
    size, target, axes = SIZES[found["size"]], parse_target(cell.platform), parse_axes(cell.mesh)
    require_fitting(axes, target, [written(default_axes(target))])
    return Order(
        size.family, size.name, target, axes, cell.dtype, modes[found["mode"]], int(found["batch"]),
        int(found["length"]), found["dispatch"] or "auto",
    )  # fmt: skip


def _is_for(order: Order) -> bool:
    return order.target.chip.platform in SIZES[order.size].platforms
