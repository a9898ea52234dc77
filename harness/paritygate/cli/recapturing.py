"""What `golden compare` does: two folders of goldens of the same cases, the newer judged on the older."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paritygate.cli.output import plural, say, say_json
from paritygate.cli.verb import Settings
from paritygate.core.errors import ExitCode, NothingComparedError, UsageError, unknown_name

if TYPE_CHECKING:
    from paritygate.judge.recapture import Recaptured
    from paritygate.store.golden import GoldenStore

SHOWN = 20


def compare_goldens(settings: Settings, store: "GoldenStore", suite: str, against: str, as_json: bool) -> ExitCode:
    """Raises NothingComparedError where the other folder has none of the cases."""
    from paritygate.store.golden import GoldenStore

    if not against:
        raise UsageError("nothing to compare with", where="golden compare", expected="--against FOLDER of goldens")
    if not Path(against).is_dir():
        raise UsageError("no such folder of goldens", where=f"--against {against}")
    other = GoldenStore(Path(against))
    suites = [suite] if suite else [name for name in other.suites() if name in store.suites()]
    found = {name: _of_suite(settings, store, other, name) for name in suites}
    absent = [f"{name}/{case}" for name in suites for case in store.cases(name) if case not in other.cases(name)]
    every = [each for some in found.values() for each in some]
    if not every:
        raise NothingComparedError("no golden is in both folders", where=against, expected=f"cases of {store.root}")
    versions = _versions(store, other, found)
    ok = all(each.ok for each in every) and not absent
    if as_json:
        cases = {name: list(map(_values, some)) for name, some in found.items()}
        say_json({"ok": ok, "versions": versions, "cases": cases, "absent": absent})
        return ExitCode.PASS if ok else ExitCode.DRIFT
    say(*(f"{name}  {old} → {new}" for name, (old, new) in versions.items()))
    for name, some in found.items():
        for each in some:
            _tell(name, each)
    say(*(f"{name}  not captured again" for name in absent))
    from paritygate.judge.recapture import diagnoses

    if moved := diagnoses(every):
        say("", "Sites that moved", *(f"{site}  {plural(count, 'value')}" for site, count in moved.most_common(SHOWN)))
    total, same = sum(len(each.rows) for each in every), sum(each.identical for each in every)
    word = "the reference computes what its goldens say" if ok else "the reference is not what its goldens say"
    say(f"{plural(len(every), 'case')}, {plural(total, 'value')}, {same:,} bit-identical: {word}")
    say("next    paritygate run" if ok else "next    what changed in the reference? Then capture again, and say why")
    return ExitCode.PASS if ok else ExitCode.DRIFT


def _of_suite(settings: Settings, store: "GoldenStore", other: "GoldenStore", suite: str) -> list["Recaptured"]:
    from paritygate.catalog.select import families
    from paritygate.cli.stages import read_budgets
    from paritygate.judge.recapture import recaptured

    known, budgets, found = families(), read_budgets(settings), []
    for case in (case for case in store.cases(suite) if case in other.cases(suite)):
        old, new = store.read(suite, case), other.read(suite, case)
        if old.case.family not in known:
            raise unknown_name("family", old.case.family, list(known))
        found.append(recaptured(old, new, known[old.case.family], budgets, store.tensor, other.tensor))
    return found


def _tell(suite: str, each: "Recaptured") -> None:
    from paritygate.judge.locate import first_divergence

    moved = len(each.moved)
    say(f"{suite}/{each.case}  {plural(len(each.rows), 'value')}, {each.identical:,} bit-identical, {moved:,} moved")
    say(*(f"    {text}" for text in each.differences))
    say(*(f"    first {each.text}" for each in first_divergence(each.rows)))
    say(*(f"    floors of {policy}: {low:.3g} to {high:.3g} of what they were"
          for policy, (low, high) in (each.floors_x or {}).items() if (low, high) != (1.0, 1.0)))  # fmt: skip


def _values(each: "Recaptured") -> dict[str, Any]:
    return {
        "case": each.case,
        "values": len(each.rows),
        "identical": each.identical,
        "moved": each.moved,
        "differences": each.differences,
        "floors_x": each.floors_x,
    }


def _versions(
    store: "GoldenStore", other: "GoldenStore", found: dict[str, list["Recaptured"]]
) -> dict[str, tuple[str, str]]:
    """Packages of the reference whose version differs, by the first case."""
    suite, case = next((name, some[0].case) for name, some in found.items() if some)
    old, new = (each.read(suite, case).provenance.get("versions", {}) for each in (store, other))
    names = sorted({*old, *new})
    return {n: (str(old.get(n, "none")), str(new.get(n, "none"))) for n in names if old.get(n) != new.get(n)}
