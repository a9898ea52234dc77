"""The kill matrix of planted faults, as text for a terminal and as Markdown for the documents."""

from collections.abc import Iterable, Sequence

from paritygate.core.fault import FaultGroup
from paritygate.core.mutant import KillMatrix, Mutant

LEGEND = {
    "right": "caught, and put down to the right site with the right diagnosis",
    "site": "caught, but put down to another site",
    "why": "caught at the right site, but with another diagnosis",
    "missed": "not caught, in the first cell that can see it",
    "-": "not caught: this dtype hides it, or a wider one sees it first",
    "pass": "harmless, and passes",
    "ALARM": "harmless, and fails",
}


def square(mutant: Mutant) -> str:
    """One square of the matrix, a key of the legend."""
    if mutant.is_harmless:
        return "ALARM" if mutant.caught else "pass"
    if not mutant.caught:
        return "missed" if mutant.expected else "-"
    return "right" if mutant.is_right else "why" if mutant.blamed_right else "site"


def render_text(matrix: KillMatrix, groups: Iterable[FaultGroup]) -> str:
    """The matrix, what is not as it must be, and the rates."""
    cells = _cells(matrix)
    width = max((len(mutant.fault) for mutant in matrix.mutants), default=0)
    lines: list[str] = []
    for group, faults in _by_group(matrix).items():
        lines += ["", f"{group:<{width}}  " + "  ".join(f"{cell:<8}" for cell in _short(cells))]
        for fault, squares in faults.items():
            said = (f"{square(squares[cell]) if cell in squares else '':<8}" for cell in cells)
            lines.append(f"{fault:<{width}}  {'  '.join(said)}".rstrip())
    for title, found in _problems(matrix):
        lines += ["", title, *(f"  {text}" for text in found)]
    if same := _equivalents(matrix, groups):
        lines += ["", "Equivalent, so harmless", *(f"  {name}: {reason}" for name, reason in same)]
    return "\n".join([*lines, "", *_rates(matrix)]).lstrip("\n") + "\n"


def render_markdown(matrix: KillMatrix, groups: Sequence[FaultGroup]) -> str:
    """`golden/MUTATIONS.md`: the same."""
    cells, about = _cells(matrix), {group.name: group.doc for group in groups}
    lines = [
        "# What the gate catches",
        "",
        "Faults planted in the candidate, one at a time, and what the gate said: the kill matrix. Written by",
        "`paritygate mutate --write`, never by hand; the drifts that decide are in `mutations.jsonl`.",
        "",
        *(f"- {text}" for text in _rates(matrix)),
        "",
        "| square | meaning |",
        "|---|---|",
        *(f"| {name} | {meaning} |" for name, meaning in LEGEND.items()),
    ]
    for group, faults in _by_group(matrix).items():
        lines += ["", f"## {group}", ""]
        if about.get(group):
            lines += [about[group], ""]
        lines += [f"| fault | kind | {' | '.join(_short(cells))} |", "|---|---|" + "---|" * len(cells)]
        for fault, squares in faults.items():
            said = " | ".join(square(squares[cell]) if cell in squares else "" for cell in cells)
            lines.append(f"| {fault} | {next(iter(squares.values())).kind} | {said} |")
    for title, found in _problems(matrix):
        lines += ["", f"## {title}", "", *(f"- {text}" for text in found)]
    if same := _equivalents(matrix, groups):
        lines += ["", "## Equivalent, so harmless", "", *(f"- {name}: {reason}" for name, reason in same)]
    return "\n".join(lines) + "\n"


def _cells(matrix: KillMatrix) -> list[str]:
    """In the order of the fault that was planted in most of them."""
    cells: dict[str, list[str]] = {}
    for mutant in matrix.mutants:
        cells.setdefault(mutant.fault, []).append(mutant.cell)
    most = max(cells.values(), key=len, default=[])
    return list(dict.fromkeys([*most, *(mutant.cell for mutant in matrix.mutants)]))


def _short(cells: Sequence[str]) -> list[str]:
    """Without the mesh and the platform where all have the same."""
    alike = len({cell.partition("/")[2] for cell in cells}) == 1
    return [cell.partition("/")[0] if alike else cell for cell in cells]


def _by_group(matrix: KillMatrix) -> dict[str, dict[str, dict[str, Mutant]]]:
    groups: dict[str, dict[str, dict[str, Mutant]]] = {}
    for mutant in matrix.mutants:
        groups.setdefault(mutant.group, {}).setdefault(mutant.fault, {})[mutant.cell] = mutant
    return groups


def _problems(matrix: KillMatrix) -> list[tuple[str, list[str]]]:
    """Each title with one line a mutant, without titles that hold for none."""
    found = [
        ("Missed", [f"{m.fault} ({m.cell})" for m in matrix.missed]),
        ("Put down to another site, or for another reason", [_blame(m) for m in matrix.misblamed]),
        ("Harmless, and fails", [_blame(m) for m in matrix.alarms]),
    ]
    return [(title, lines) for title, lines in found if lines]


def _blame(mutant: Mutant) -> str:
    return f"{mutant.fault} ({mutant.cell}): {mutant.blamed} {mutant.diagnosis or 'without diagnosis'}"


def _equivalents(matrix: KillMatrix, groups: Iterable[FaultGroup]) -> list[tuple[str, str]]:
    run = {mutant.fault for mutant in matrix.mutants}
    return [(f.name, f.equivalent) for group in groups for f in group.faults if f.equivalent and f.name in run]


def _rates(matrix: KillMatrix) -> list[str]:
    harmless = {mutant.fault for mutant in matrix.mutants if mutant.is_harmless}
    failing = {mutant.fault for mutant in matrix.alarms}
    expected, caught = len(matrix.expected), len(matrix.caught)
    return [
        f"{expected - len(matrix.missed)} of {expected} faults caught by the first cell that can see them",
        f"{caught - len(matrix.misblamed)} of {caught} squares with a fault caught name the right site and diagnosis",
        f"{len(failing)} of {len(harmless)} harmless variants fail",
    ]
