"""Why a row is not a pass, and which value is to blame. Reads and writes nothing.

Three questions, in this order. Is the computation another one, or is it rounding? The float64 twin of the row (same
case, mode, value, mesh and platform) answers: there is no rounding to speak of in float64. Where it is another one on a
mesh, is it so on one device too? The same row on one device answers: where that is right, sharding it is wrong. And
does the row fail by itself, or because of a value that it is computed from? That is read off containment and production
order, as below.

Only rows that hold a difference are diagnosed, and with them a value that is missing from the chain although its module
gives it when it is replayed alone: the model does not run the module. Other `missing` rows and `error` say nothing of a
number: they neither get a diagnosis nor prove one.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from paritygate.core.cell import SINGLE, Cell, Mode
from paritygate.core.drift import Diagnosis, Row, Verdict

# By the key of a diverged row (or of a twin): the row to blame (or the twin).
ToBlame = dict[tuple[str | int, ...], Row]

NOT_RUN = "its module is there, but the model does not run it"
UNPROVEN = "run the f64 cell to tell a fault from rounding"
UNPROVEN_ON_MESH = "run f64 on one device too to tell a fault of sharding from another"
NOTES = (NOT_RUN, UNPROVEN, UNPROVEN_ON_MESH)

NOT_COMPARED = (Verdict.MISSING, Verdict.ERROR, Verdict.SKIPPED)
DIVERGED = frozenset({Verdict.OVER_BUDGET, Verdict.REGRESSED, Verdict.NONFINITE, Verdict.MISMATCH})


def diverged(row: Row) -> bool:
    """Whether the row was compared and differs."""
    return row.verdict in DIVERGED


def diagnose(rows: list[Row], oracles: Collection[str]) -> list[Row]:
    """The same rows, in the same order, with diagnosis, origin and, where it is unproven, the reason filled in.

    `oracles` are the names of the dtype policies that compute as the oracle does (float64). Rows that were diagnosed
    before may be so again.
    """
    twins = {_twin_key(row): row for row in rows if Cell.parse(row.drift.cell).dtype in oracles}
    alone_of = {_alone_key(row): row for row in twins.values() if Cell.parse(row.drift.cell).mesh == SINGLE}
    by_cell: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if diverged(row):
            by_cell[row.drift.case, row.drift.cell].append(row)
    alone = {_value(row) for row in rows if row.drift.mode == Mode.ISOLATED and row.verdict not in NOT_COMPARED}
    replayed = {value[:3] for value in alone}
    blame: ToBlame = {}
    for failing in by_cell.values():
        failing.sort(key=lambda row: row.drift.order)
        isolated = _blame_isolated([row for row in failing if row.drift.mode == Mode.ISOLATED])
        chained = [row for row in failing if row.drift.mode == Mode.CHAINED]
        blame |= isolated | _blame_chained(chained, isolated, replayed)
        # What is upstream of a wrong gradient may be right, or wrong by itself: each weight's stands for itself.
        blame |= {row.drift.key: row for row in failing if row.drift.mode == Mode.GRADIENT}
    return [
        _finish(row, blame, twins, alone_of, oracles)
        if diverged(row)
        else _left_out(row)
        if _not_run(row, alone)
        else row
        for row in rows
    ]


def _value(row: Row) -> tuple[str | int, ...]:
    drift = row.drift
    return (drift.case, drift.cell, drift.site, drift.port, drift.call)


def _not_run(row: Row, alone: Collection[tuple[str | int, ...]]) -> bool:
    return row.verdict is Verdict.MISSING and row.drift.mode == Mode.CHAINED and _value(row) in alone


def _left_out(row: Row) -> Row:
    return _noted(replace(row, reason=_bare(row.reason)), Diagnosis.SEMANTIC, NOT_RUN)


def _blame_isolated(failing: list[Row]) -> ToBlame:
    """By key of each diverged row, the row to blame. `failing` is in production order.

    A site gets golden inputs, so what is upstream of it cannot be to blame: only what it computed earlier itself (in
    the same call), and the sites inside it, which ran on its own values. Of those the first is to blame: nothing of
    the site differs before it, so it is the innermost too. A site inside that differs only later is not to blame: its
    own replay, on its own golden inputs, is another one.
    """
    blame: ToBlame = {}
    first_of_call: dict[tuple[str, int], Row] = {}
    first_inside: dict[str, Row] = {}
    for row in failing:
        drift = row.drift
        candidates = [first_of_call.get((drift.site, drift.call)), first_inside.get(drift.site)]
        blame[drift.key] = min((c for c in candidates if c), key=lambda c: c.drift.order, default=row)
        first_of_call.setdefault((drift.site, drift.call), row)
        for container in _containers(drift.site):
            first_inside.setdefault(container, row)
    return blame


def _blame_chained(failing: list[Row], isolated: ToBlame, replayed: Collection[tuple[str | int, ...]]) -> ToBlame:
    """As above for chained rows, `isolated` holding who is to blame for those of the same case and cell.

    `replayed` are the sites (case, cell, site) that were compared alone.

    Everything after the first difference ran on wrong values, so it is put down to that first one, with one exception:
    a value that differs on golden inputs too, by fault of its own site, differs by itself. Where there is no isolated
    replay of it, nothing speaks for such a second fault.
    """
    found: ToBlame = {}
    own_first: dict[tuple[str, int], Row] = {}
    for row in failing:
        drift = row.drift
        alone = isolated.get((drift.case, drift.cell, Mode.ISOLATED, drift.site, drift.port, drift.call))
        if alone is None or alone.drift.site != drift.site:
            found[drift.key] = _feeding(failing[0], isolated, replayed)
        else:
            found[drift.key] = own_first.setdefault((drift.site, drift.call), row)
    return found


def _feeding(first: Row, isolated: ToBlame, replayed: Collection[tuple[str | int, ...]]) -> Row:
    """The row to blame for the first chained difference: itself, or a site around it that differs on golden inputs.

    A site that is right on golden inputs and differs first in the chain was fed wrong values by the code around it: by
    the innermost site that contains it and that differs by itself when it is replayed alone. A site that is only ever
    seen in the chain is a piece of that code, and so the more precise answer.
    """
    if _value(first)[:3] not in replayed:
        return first
    by_itself = {row.drift.site: row for key, row in reversed(isolated.items()) if row.drift.key == key}
    if first.drift.site in by_itself:
        return first
    return next((by_itself[site] for site in _containers(first.drift.site) if site in by_itself), first)


def _finish(row: Row, blame: ToBlame, twins: ToBlame, alone_of: ToBlame, oracles: Collection[str]) -> Row:
    blamed, row = blame[row.drift.key], replace(row, origin="", reason=_bare(row.reason))
    if Cell.parse(row.drift.cell).dtype not in oracles:
        # Low precision hides small differences, so its first one may lie downstream of the fault. Where the float64
        # twin of the row to blame differs because of another value, that value is to blame here too.
        twin = twins.get(_twin_key(blamed))
        if twin is not None and diverged(twin):
            blamed = blame[twin.drift.key]
            if blamed.drift.order > row.drift.order and blamed.drift.site not in _containers(row.drift.site):
                blamed = row  # what comes after a value, and not around it, does not explain it
    if blamed.drift.address != row.drift.address:
        return replace(row, diagnosis=Diagnosis.PROPAGATED, origin=blamed.drift.address)
    diagnosis, note = _own(row, twins, oracles)
    if row.drift.placement:
        diagnosis, note = Diagnosis.SHARDING, ""  # one device has neither copies nor parts
    elif Cell.parse(row.drift.cell).mesh != SINGLE and diagnosis is Diagnosis.SEMANTIC:
        diagnosis, note = _on_mesh(row, alone_of)
    return _noted(row, diagnosis, note)


def _noted(row: Row, diagnosis: Diagnosis, note: str) -> Row:
    return replace(row, diagnosis=diagnosis, reason=f"{row.reason}; {note}".removeprefix("; ") if note else row.reason)


def _bare(reason: str) -> str:
    """Without what an earlier diagnosis added."""
    note = next((note for note in NOTES if reason.endswith(note)), "")
    return reason.removesuffix(note).removesuffix("; ") if note else reason


def _own(row: Row, twins: ToBlame, oracles: Collection[str]) -> tuple[Diagnosis, str]:
    """Another computation, or rounding."""
    if Cell.parse(row.drift.cell).dtype in oracles:
        return Diagnosis.SEMANTIC, ""
    twin = twins.get(_twin_key(row))
    if twin is None or twin.verdict in NOT_COMPARED:
        return Diagnosis.NONE, UNPROVEN
    # A difference that a baseline accepts is a difference nevertheless.
    if diverged(twin) or twin.accepted:
        return Diagnosis.SEMANTIC, ""
    return (Diagnosis.DECISION if row.excuse is not None and row.excuse.refused else Diagnosis.PRECISION), ""


def _on_mesh(row: Row, alone_of: ToBlame) -> tuple[Diagnosis, str]:
    """Another computation on the mesh only, or on one device too."""
    alone = alone_of.get(_alone_key(row))
    if alone is None or alone.verdict in NOT_COMPARED:
        return Diagnosis.SEMANTIC, UNPROVEN_ON_MESH
    return (Diagnosis.SEMANTIC if diverged(alone) or alone.accepted else Diagnosis.SHARDING), ""


def _alone_key(row: Row) -> tuple[str | int, ...]:
    """What a row and the float64 one on one device share."""
    drift, cell = row.drift, Cell.parse(row.drift.cell)
    return (drift.case, drift.mode, drift.site, drift.port, drift.call, cell.platform)


def _twin_key(row: Row) -> tuple[str | int, ...]:
    drift, cell = row.drift, Cell.parse(row.drift.cell)
    return (drift.case, drift.mode, drift.site, drift.port, drift.call, cell.mesh, cell.platform)


def _containers(site: str) -> list[str]:
    """`a.b.c` → `a.b`, `a`."""
    parts = site.split(".")
    return [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]
