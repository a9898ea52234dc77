"""The kill matrix of planted faults: parts of a report, text for a terminal, Markdown for the documents."""

from collections.abc import Iterable, Sequence

from paritygate.core.cell import SINGLE
from paritygate.core.fault import FaultGroup
from paritygate.core.mutant import KillMatrix, Mutant
from paritygate.report.parts import Column, Details, Item, Part, Table, Text, Tone

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
    columns, groups_of = _columns(matrix), _by_group(matrix)
    width = max((len(name) for faults in groups_of.values() for name in faults), default=0)
    lines: list[str] = []
    for group, faults in groups_of.items():
        lines += ["", f"{group:<{width}}  " + "  ".join(f"{column:<8}" for column in _short(columns))]
        for fault, squares in faults.items():
            said = (f"{square(squares[column]) if column in squares else '':<8}" for column in columns)
            lines.append(f"{fault:<{width}}  {'  '.join(said)}".rstrip())
    for title, found in _problems(matrix):
        lines += ["", title, *(f"  {text}" for text in found)]
    if same := _equivalents(matrix, groups):
        lines += ["", "Equivalent, so harmless", *(f"  {name}: {reason}" for name, reason in same)]
    return "\n".join([*lines, "", *_rates(matrix)]).lstrip("\n") + "\n"


def render_markdown(matrix: KillMatrix, groups: Sequence[FaultGroup]) -> str:
    """`golden/MUTATIONS.md`: the same."""
    columns, about = _columns(matrix), {group.name: group.doc for group in groups}
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
        lines += [f"| fault | kind | {' | '.join(_short(columns))} |", "|---|---|" + "---|" * len(columns)]
        for fault, squares in faults.items():
            said = " | ".join(square(squares[column]) if column in squares else "" for column in columns)
            lines.append(f"| {fault} | {next(iter(squares.values())).kind} | {said} |")
    for title, found in _problems(matrix):
        lines += ["", f"## {title}", "", *(f"- {text}" for text in found)]
    if same := _equivalents(matrix, groups):
        lines += ["", "## Equivalent, so harmless", "", *(f"- {name}: {reason}" for name, reason in same)]
    return "\n".join(lines) + "\n"


def matrix_parts(matrix: KillMatrix) -> list[Part]:
    """The rates, what is not as it must be, then the matrix, folded, a table a group."""
    parts: list[Part] = [Text(f"{'; '.join(_rates(matrix))}.", Tone.PLAIN if matrix.ok else Tone.BAD)]
    for title, found in _problems(matrix):
        parts.append(Table((Column(title),), tuple((Item(text, Tone.BAD),) for text in found)))
    columns = _columns(matrix)
    for group, faults in _by_group(matrix).items():
        lines = tuple(
            (
                Item(fault, Tone.CODE),
                Item(next(iter(squares.values())).kind),
                *(_item(squares[column]) if column in squares else Item("") for column in columns),
            )
            for fault, squares in faults.items()
        )
        titles = (Column("fault"), Column("kind"), *map(Column, _short(columns)))
        parts.append(Details(Item(f"{group}: {len(faults)} faults and harmless variants"), (Table(titles, lines),)))
    seen = {square(mutant) for mutant in matrix.mutants}
    said = " · ".join(f"{name}: {meaning}" for name, meaning in LEGEND.items() if name in seen)
    return [*parts, Text(said, Tone.MUTED)]


def _item(mutant: Mutant) -> Item:
    tones = {"right": Tone.GOOD, "pass": Tone.GOOD, "-": Tone.MUTED}
    return Item(square(mutant), tones.get(square(mutant), Tone.BAD))


def _columns(matrix: KillMatrix) -> list[str]:
    """In the order of the fault that was planted in most of them."""
    columns = [list(squares) for faults in _by_group(matrix).values() for squares in faults.values()]
    most = max(columns, key=len, default=[])
    return list(dict.fromkeys([*most, *(column for each in columns for column in each)]))


def _short(columns: Sequence[str]) -> list[str]:
    """Without the platform where all have the same."""
    alike = len({column.partition("/")[2] for column in columns}) == 1
    return [column.partition("/")[0] if alike else column for column in columns]


def _by_group(matrix: KillMatrix) -> dict[str, dict[str, dict[str, Mutant]]]:
    """By group, by fault with the mesh that it takes, by dtype and platform; without what one device is right in."""
    of_fault: dict[str, list[Mutant]] = {}
    for mutant in matrix.mutants:
        of_fault.setdefault(mutant.fault, []).append(mutant)
    groups: dict[str, dict[str, dict[str, Mutant]]] = {}
    for fault, mutants in of_fault.items():
        mesh = next((mutant.mesh for mutant in mutants if mutant.mesh != SINGLE), SINGLE)
        squares = {m.cell.replace(f"/{mesh}/", "/"): m for m in mutants if m.mesh == mesh}
        name = fault if mesh == SINGLE else f"{fault} ({mesh})"
        groups.setdefault(mutants[0].group, {})[name] = squares
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
