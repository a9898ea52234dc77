"""The counterfactual pass: for each value to blame, which hypothesis makes the difference vanish."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from paritygate.cli.verb import Settings
from paritygate.core.blame import Blame
from paritygate.core.cell import Cell, Mode
from paritygate.core.drift import Diagnosis, Drift, Kept, Row
from paritygate.core.errors import GoldenError, InfrastructureError, UsageError
from paritygate.core.family import Case, Family
from paritygate.core.fault import Fault
from paritygate.core.hypothesis import Counterfactual
from paritygate.core.mutant import ExplainedFault
from paritygate.core.run import Run

if TYPE_CHECKING:
    import numpy as np

    from paritygate.judge.explain import Values
    from paritygate.replay.job import Planting
    from paritygate.store.golden import GoldenStore


def to_explain(run: Run, rows: Sequence[Row], case: str = "") -> list[Row]:
    """The first divergence of each case in float64 that is semantic; of those that blame one site only the first.

    With `case` that case's alone.
    """
    from paritygate.catalog.select import policies
    from paritygate.judge.locate import first_divergence

    oracles = {name for name, policy in policies().items() if not policy.peer}
    found: dict[str, Row] = {}
    for divergence in first_divergence(rows):
        row = divergence.row
        in_float64 = Cell.parse(divergence.cell).dtype in oracles
        if in_float64 and row.diagnosis is Diagnosis.SEMANTIC and case in ("", divergence.case):
            found.setdefault(row.drift.site, row)
    return list(found.values())


def missing_for(run: Run) -> str:
    """What is not installed that the references of a run's cases need; empty where all is there."""
    modules = {"torch"} | {family.reference.build.partition(":")[0] for _, family in _cases(run).values()}
    return ", ".join(sorted(name for name in modules if find_spec(name) is None))


def explained_or_why(settings: Settings, run: Run, rows: Sequence[Row], compile_cache: Path | None) -> str:
    """Explains what there is to explain, and returns why that could not be done; nothing where it was."""
    from paritygate.cli.blaming import blame_run, to_blame

    missing, why = missing_for(run) if to_explain(run, rows) else "", list[str]()
    if missing:
        why.append(f"no {missing} here")
    for what in (
        lambda: None if missing else explain_run(settings, run, rows, compile_cache=compile_cache),
        lambda: blame_run(settings, run, to_blame(run, rows), compile_cache),
    ):
        try:
            what()
        except Exception as reason:  # the run is whole without it, and its verdict must not hang on it
            why.append(f"{type(reason).__name__}: {reason}".replace("\n", "; "))
    return "; ".join(why)


def said(found: Sequence[Counterfactual | Blame]) -> list[str]:
    return [f"{each.case}  {each.address}  {each.text}" for each in found]


def explain_run(
    settings: Settings, run: Run, rows: Sequence[Row], case: str = "", compile_cache: Path | None = None
) -> list[Counterfactual]:
    """Tries the hypotheses on what `to_explain` says, and writes `explanations.jsonl`: a case's line is replaced.

    Raises UsageError where the candidate, and GoldenError where a golden, is not the one of the run.
    """
    found = [_explained(settings, run, row, rows, compile_cache) for row in to_explain(run, rows, case)]
    kept = [each for each in run.counterfactuals() if case and each.case != case]
    run.save_counterfactuals([*kept, *found])
    return found


def _explained(
    settings: Settings, run: Run, row: Row, rows: Sequence[Row], compile_cache: Path | None
) -> Counterfactual:
    from paritygate.store.golden import GoldenStore

    case, family = _cases(run)[row.drift.case]
    if reason := _untried(row, family):
        return _without(row, reason)
    mode, store = _mode(row, rows), GoldenStore(settings.golden)
    values = dict(_values(settings, run, case, row.drift.cell, mode, store, compile_cache))
    return explain_values(settings, run.info.suite, case, family, row, mode, values)


def _untried(row: Row, family: Family) -> str:
    if row.drift.mode == Mode.GRADIENT:
        return "only gradients differ, and no hypothesis is tried on them"
    return "" if family.hypotheses else f"the family {family.name} lists no hypotheses"


def _without(row: Row, reason: str) -> Counterfactual:
    drift = row.drift
    return Counterfactual(drift.case, drift.cell, drift.mode, drift.address, reason=reason)


def _mode(row: Row, rows: Sequence[Row]) -> Mode:
    """Chained, where anything of the case and cell differs there: then everything that follows is evidence too."""
    from paritygate.judge.diagnose import diverged

    place = (row.drift.case, row.drift.cell, Mode.CHAINED)
    chained = (o for o in rows if (o.drift.case, o.drift.cell, o.drift.mode) == place)
    return Mode.CHAINED if any(diverged(other) or other.diagnosis for other in chained) else Mode.ISOLATED


def explain_values(
    settings: Settings, suite: str, case: Case, family: Family, row: Row, mode: Mode, values: "Values"
) -> Counterfactual:
    """Tries the family's hypotheses on the values that the candidate shows of a case in a mode."""
    from paritygate.cli.stages import read_budgets
    from paritygate.judge.explain import Shown, explain
    from paritygate.reference.counterfactual import Counterfactuals
    from paritygate.store.golden import GoldenStore

    store, drift = GoldenStore(settings.golden), row.drift
    golden = store.read(suite, case.id)
    of_golden = {(p.site, p.port, p.call): store.tensor(p.tensor) for p in golden.ports}
    blamed = next(port for port in golden.ports if port.address == drift.address)
    inputs, weights = (
        {name: store.tensor(ref) for name, ref in refs.items()} for refs in (golden.inputs, golden.weights)
    )
    if mode is Mode.ISOLATED:
        values = {key: value for key, value in values.items() if key[0] == drift.site}
    preset, prompt = family.preset(case.preset), family.prompt(case.prompt)
    changed = Counterfactuals(family, preset, prompt, inputs, weights)
    shown = Shown(golden, family, drift.cell, mode, read_budgets(settings), inputs["attention_mask"], values)
    return explain(shown, of_golden, blamed, changed.hypotheses(), lambda each: changed.values(each, mode, drift.site))


def _cases(run: Run) -> dict[str, tuple[Case, Family]]:
    from paritygate.catalog.select import families, select_cases

    known = families()
    cases = (case for name in run.info.cases for case in select_cases(name, run.info.suite))
    return {case.id: (case, known[case.family]) for case in cases}


def _values(
    settings: Settings, run: Run, case: Case, cell: str, mode: Mode, store: "GoldenStore", compile_cache: Path | None
) -> Iterator[tuple[tuple[str, str, int], "np.ndarray"]]:
    """What the candidate of the run shows of one case: it is replayed once more, and its values are kept meanwhile."""
    import numpy as np

    from paritygate.catalog.select import fault_of
    from paritygate.replay.launch import replay
    from paritygate.store.objects import ObjectStore

    with tempfile.TemporaryDirectory(prefix=".explain-", dir=run.folder) as folder:
        again = replay(
            run.info.suite,
            [case],
            [Cell.parse(cell)],
            [mode],
            store,
            Path(folder),
            settings.command,
            extensions=settings.extensions,
            compile_cache=compile_cache,
            keep="values",
            fault=fault_of(run.info.fault) if run.info.fault else None,
        )
        if again.info.problems:
            raise InfrastructureError("values cannot be kept", where=case.id, got="; ".join(again.info.problems))
        refuse_others(run, case.id, again.info.goldens[case.id], again.info.workers[0]["candidate"])
        objects = ObjectStore(again.folder / "values")
        for kept in again.values():
            yield (kept.site, kept.port, kept.call), np.array(objects.get(kept.tensor))


def refuse_others(run: Run, case: str, golden: str, candidate: Mapping[str, str]) -> None:
    """Raises where the golden, by its hash, or the candidate, by that of each package, is not the one of the run."""
    if golden != run.info.goldens[case]:
        raise GoldenError(
            "golden has changed since the run",
            where=f"{run.info.suite}/{case}",
            expected=run.info.goldens[case][:12],
            got=golden[:12],
            try_=f"paritygate run {run.info.suite}",
        )
    judged = {source: digest for worker in run.info.workers for source, digest in worker["candidate"].items()}
    for source, digest in candidate.items():
        if judged.get(source) != digest:
            raise UsageError(
                "candidate has changed since the run",
                where=source,
                expected=judged.get(source, "none")[:12],
                got=digest[:12],
                try_=f"paritygate run {run.info.suite}",
            )


def explain_faults(
    settings: Settings, faults: Sequence[Fault], workers: int | None, timeout_s: float, compile_cache: Path | None
) -> list[ExplainedFault]:
    """Plants each fault in float64 and tries the hypotheses on what the candidate then shows, in the faults' order.

    Raises InfrastructureError where a worker failed.
    """
    from paritygate.catalog.select import case_of, select_cells
    from paritygate.cli.output import progress
    from paritygate.replay.job import Planting
    from paritygate.replay.mutants import replay_mutants
    from paritygate.store.golden import GoldenStore
    from paritygate.store.objects import ObjectStore

    (cell,) = select_cells("f64")
    plantings = [Planting(fault.name, fault.patches, *case_of(fault), (cell,)) for fault in faults]
    store, drifts = GoldenStore(settings.golden), dict[str, list[Drift]]()
    kept: dict[str, list[Kept]] = {fault.name: [] for fault in faults}
    settings.runs.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".explain-", dir=settings.runs) as folder,
        progress(settings) as tell,
    ):
        problems = replay_mutants(
            plantings,
            store,
            Path(folder),
            drifts.__setitem__,
            extensions=settings.extensions,
            workers=workers,
            timeout_s=timeout_s,
            compile_cache=compile_cache,
            keep=lambda name, value: kept[name].append(value),
        )
        if problems:
            raise InfrastructureError("faults were not all replayed", got="\n".join(problems))
        objects, found = ObjectStore(Path(folder) / "values"), list[ExplainedFault]()
        for fault, planting in zip(faults, plantings, strict=True):

            def values(mode: Mode, name: str = fault.name) -> "Values":
                return {(k.site, k.port, k.call): objects.get(k.tensor) for k in kept[name] if k.mode == mode}

            counterfactual = _of_planted(settings, store, planting, drifts[fault.name], values)
            found.append(ExplainedFault(fault.name, fault.hypothesis, counterfactual))
            tell(len(found), len(faults), fault.name)
    return found


def _of_planted(
    settings: Settings,
    store: "GoldenStore",
    planting: "Planting",
    drifts: Sequence[Drift],
    values: "Callable[[Mode], Values]",
) -> Counterfactual | None:
    """What explains the first divergence under a fault; None where it is not semantic."""
    from paritygate.catalog.select import families
    from paritygate.cli.stages import read_budgets
    from paritygate.judge.decide import judge
    from paritygate.judge.locate import first_divergence

    case, family = planting.case, families()[planting.case.family]
    goldens, cells = {case.id: store.read(planting.suite, case.id)}, [str(cell) for cell in planting.cells]
    rows = judge(drifts, goldens, cells, tuple(Mode), read_budgets(settings), {})
    row = next((each.row for each in first_divergence(rows) if each.row.diagnosis is Diagnosis.SEMANTIC), None)
    if row is None:
        return None
    if reason := _untried(row, family):
        return _without(row, reason)
    mode = _mode(row, rows)
    return explain_values(settings, planting.suite, case, family, row, mode, values(mode))
