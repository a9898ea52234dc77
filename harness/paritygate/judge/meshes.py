"""What layouts say of a difference that only meshes show: the axes that all of them share, the edges of the parts.

Reads and writes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from paritygate.core.cell import Cell, MeshLayout
from paritygate.core.drift import Diagnosis, Drift, Row, Verdict
from paritygate.core.family import PromptRow
from paritygate.core.layout import parse
from paritygate.core.where import Block, listed
from paritygate.judge.diagnose import diverged

Key = tuple[str, str, str, str, str, int]


def faulty_layouts(rows: Iterable[Row], layouts: Mapping[str, MeshLayout]) -> dict[Key, str]:
    """By key of each row that is put down to sharding, in which layouts its value is wrong.

    `in every layout with tp, in none without` · `in tp4, not in tp2`
    """
    groups: dict[tuple[str | int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        drift, cell = row.drift, Cell.parse(row.drift.cell)
        groups[drift.case, drift.mode, drift.address, cell.dtype, cell.platform].append(row)
    found: dict[Key, str] = {}
    for group in groups.values():
        of_sharding = [row.drift.key for row in group if row.diagnosis is Diagnosis.SHARDING]
        if of_sharding:
            wrong = [layouts[row.drift.cell] for row in group if diverged(row)]
            right = [layouts[row.drift.cell] for row in group if row.verdict is Verdict.PASS]
            found |= dict.fromkeys(of_sharding, _which(wrong, [each for each in right if each.devices > 1]))
    return found


def _which(wrong: Sequence[MeshLayout], right: Sequence[MeshLayout]) -> str:
    kinds = [{kind for kind, _ in layout.axes} for layout in wrong]
    shared = [kind for kind, _ in wrong[0].axes if all(kind in some for some in kinds)]
    elsewhere = {kind for layout in right for kind, _ in layout.axes}
    if telling := [kind for kind in shared if kind not in elsewhere]:
        none = ", in none without" if right else ""
        return f"in every layout with {listed(telling)}{none}"
    names = f"in {listed([layout.name for layout in wrong])}"
    return f"{names}, not in {listed([layout.name for layout in right])}" if right else names


def parts_of(
    drift: Drift, layout: MeshLayout, letters: Mapping[str, str], rows: Sequence[PromptRow]
) -> Iterator[tuple[Block, int]]:
    """The parts that devices have of each axis of a value, as blocks with their lengths: `the second tp part`.

    Not of tokens where a row is padded on the left: these are counted from the first real one.
    """
    groups = parse(drift.layout)
    if len(groups) != len(drift.shape):
        return  # the value is of another shape than the golden's
    logical = [letters.get(group[0], "") if len(group) == 1 else "" for group in groups]
    for group, size, axes in zip(groups, drift.shape, layout.split(logical, drift.shape), strict=True):
        moved = group[0] in "TS" and any(row.pad_left for row in rows)
        if axes and not moved:
            yield Block(group[0], f"{'+'.join(axes)} part", ""), size // layout.ways(axes)
