"""What the gate says of a candidate with a planted fault, and whether that is right. Reads and writes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from paritygate.core.budget import Budgets
from paritygate.core.cell import Cell, Mode
from paritygate.core.drift import Diagnosis, Drift, Row, Verdict
from paritygate.core.errors import ExitCode
from paritygate.core.fault import Fault
from paritygate.core.golden import Golden
from paritygate.core.mutant import Mutant
from paritygate.judge.decide import judge
from paritygate.judge.gate import exit_code
from paritygate.judge.locate import Divergence, first_divergence

_DIAGNOSES = {"precision": Diagnosis.PRECISION, "sharding": Diagnosis.SHARDING}


def judge_mutants(
    group: str, fault: Fault, drifts: Sequence[Drift], golden: Golden, cells: Sequence[str], budgets: Budgets
) -> list[Mutant]:
    """One mutant for each cell that the fault's case was replayed in, all cells judged together.

    No baseline is applied: what somebody accepted of the candidate says nothing of one with a fault.
    """
    case = fault.case.partition("/")[2]
    rows = judge(drifts, {case: golden}, cells, tuple(Mode), budgets, {})
    found = {divergence.cell: divergence for divergence in first_divergence(rows)}
    mutants = []
    for cell in cells:
        of_cell = [row for row in rows if row.drift.cell == cell]
        mutant = Mutant(
            fault.name,
            group,
            fault.kind,
            fault.case,
            cell,
            expected=fault.kind != "harmless" and _is_first(Cell.parse(cell), fault),
            caught=exit_code(of_cell, ()) is ExitCode.DRIFT,
            drifts=_evidence(of_cell, found.get(cell)),
        )
        mutants.append(_blamed(mutant, fault, found[cell].row, rows) if cell in found else mutant)
    return mutants


def _is_first(cell: Cell, fault: Fault) -> bool:
    """Whether a cell is the first that can see a fault."""
    return (cell.dtype, cell.mesh) == (fault.sees, fault.mesh)


def _blamed(mutant: Mutant, fault: Fault, first: Row, rows: Sequence[Row]) -> Mutant:
    """With the site that the first divergence is put down to, which may have been found in another cell."""
    address, diagnosis = first.drift.address, first.diagnosis
    if diagnosis is Diagnosis.PROPAGATED:
        address = first.origin
        of_origin = (row.diagnosis for row in rows if row.drift.address == address)
        diagnosis = next((said for said in of_origin if said not in ("", Diagnosis.PROPAGATED)), diagnosis)
    wanted = _DIAGNOSES.get(fault.kind, Diagnosis.SEMANTIC)
    return replace(
        mutant,
        blamed=address,
        diagnosis=diagnosis,
        blamed_right=any(fnmatchcase(address, pattern) for pattern in fault.at),
        diagnosis_right=diagnosis is wanted,
    )


def _evidence(rows: Sequence[Row], first: Divergence | None) -> tuple[Drift, ...]:
    """The drifts that decide: of each mode and rule the one furthest over its limit, and the first to differ.

    Where all pass, of each mode and rule the one nearest to its limit.
    """
    kept: dict[tuple[str, ...], tuple[float, Row]] = {}
    for row in rows if first is None else [row for row in rows if row.verdict is not Verdict.PASS]:
        shares = {judgement.rule: judgement.share for judgement in row.judgements if first is None or not judgement.ok}
        if not row.judgements:
            shares = {str(row.verdict): 0.0}
        for rule, share in shares.items():
            key = (row.drift.mode, rule)
            if key not in kept or share > kept[key][0]:
                kept[key] = (share, row)
    chosen = {row.drift.key: row for _, row in kept.values()}
    if first is not None:
        chosen[first.row.drift.key] = first.row
    return tuple(
        replace(row.drift, worst=(), where=(), digest="")
        for row in sorted(chosen.values(), key=lambda row: row.drift.order)
    )


def caught_again(mutant: Mutant, golden: Golden, budgets: Budgets) -> bool:
    """Whether the drifts that a mutant keeps are caught under `budgets`, or ones that were not caught now are."""
    keys = {drift.key for drift in mutant.drifts}
    values = {(drift.site, drift.port, drift.call) for drift in mutant.drifts}
    values |= {(drift.site, drift.decided.scores, drift.call) for drift in mutant.drifts if drift.decided is not None}
    ports = tuple(port for port in golden.ports if (port.site, port.port, port.call) in values)
    case = mutant.case.partition("/")[2]
    rows = judge(mutant.drifts, {case: replace(golden, ports=ports)}, [mutant.cell], tuple(Mode), budgets, {})
    return any(row.verdict is not Verdict.PASS for row in rows if row.drift.key in keys)
