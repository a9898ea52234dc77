"""Goldens, families, inspections and rows → coverage: each part of a computation is covered, and once. Writes nothing.

The parts come from the goldens, which say what the reference runs, and from the candidate's inspection; never from the
family, whose sites are what is on trial.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from paritygate.core.cell import Mode
from paritygate.core.coverage import Coverage, CoveredGlue, Gap, Inspection, PartKind, Unexercised
from paritygate.core.drift import Row, Verdict
from paritygate.core.errors import unknown_name
from paritygate.core.family import Family
from paritygate.core.golden import Golden, TensorRef
from paritygate.core.site import Glue, Site, address
from paritygate.judge.diagnose import NOT_COMPARED
from paritygate.judge.gate import is_excused

MISSING, MISMATCH = Verdict.MISSING, Verdict.MISMATCH


def prove(
    goldens: Mapping[str, Golden],
    families: Mapping[str, Family],
    inspections: Iterable[Inspection],
    rows: Iterable[Row],
    modes: Collection[str],
) -> Coverage:
    """What a run covers; `goldens` by case id, `families` by name. Raises UsageError on a family that is not there.

    What a prompt in pieces does not show of a site is covered by the sites around it, in the chain: the sites that
    count are the preset's.
    """
    inspected: dict[str, list[Inspection]] = defaultdict(list)
    for inspection in inspections:
        inspected[inspection.case].append(inspection)
    chained: dict[str, set[str]] = defaultdict(set)
    skipped: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        port = address(row.drift.site, row.drift.port)
        if row.drift.mode == Mode.CHAINED and row.verdict not in NOT_COMPARED:
            chained[row.drift.case].add(port)
        elif row.drift.mode == Mode.CHAINED and is_excused(row):
            skipped[row.drift.case][port] = row.reason
    ledger, used = _Ledger(), {}
    for case, golden in goldens.items():
        if golden.case.family not in families:
            raise unknown_name("family", golden.case.family, list(families))
        family = used[golden.case.family] = families[golden.case.family]
        entries = _Entries(ledger, case, golden.case.preset)
        sites = family.sites_of(family.preset(golden.case.preset))
        _reference(entries, golden, sites, family.glue)
        _glue(entries, golden, family, chained[case], skipped[case], Mode.CHAINED in modes)
        if all(inspection.placement for inspection in inspected[case]):
            entries.gap(MISSING, PartKind.CANDIDATE, entries.preset, "it was not inspected")
        for inspection in inspected[case]:
            if inspection.placement:
                for path, why in inspection.placement.items():
                    entries.gap(MISMATCH, PartKind.PLACEMENT, path, f"in {inspection.cell}: {why}")
            else:
                _candidate(entries, golden, inspection, sites, family.glue)
    seen = set().union(*chained.values())
    return Coverage(
        ledger.counts(),
        tuple(Gap(*key, tuple(cases)) for key, cases in ledger.gaps.items()),
        tuple(
            CoveredGlue(family.name, glue.name, glue.reference, tuple(p for p in glue.ports if p in seen), glue.doc)
            for family in used.values()
            for glue in family.glue
        ),
        tuple(unexercised(used.values(), {golden.case.preset for golden in goldens.values()})),
    )


def unexercised(families: Iterable[Family], presets: Collection[str]) -> list[Unexercised]:
    """The values of each family's config branches that none of the presets has chosen."""
    found = []
    for family in families:
        chosen = [preset for preset in family.presets if preset.name in presets]
        for branch in family.branches:
            taken = [value for preset in chosen for value in branch.taken(preset)]
            found += [
                Unexercised(family.name, branch.key, value, branch.doc) for value in branch.values if value not in taken
            ]
    return found


class _Ledger:
    """Every part once for each preset, and every gap with the cases that have it."""

    def __init__(self) -> None:
        self.parts: set[tuple[str, PartKind, str]] = set()
        self.gaps: dict[tuple[Verdict, PartKind, str, str], dict[str, None]] = {}

    def counts(self) -> dict[str, int]:
        of_part = [part for _, part, _ in self.parts]
        return {str(part): of_part.count(part) for part in PartKind if part in of_part}


class _Entries:
    """The ledger, as one case writes into it."""

    def __init__(self, ledger: _Ledger, case: str, preset: str):
        self._ledger, self.case, self.preset = ledger, case, preset

    def part(self, part: PartKind, where: str) -> None:
        self._ledger.parts.add((self.preset, part, where))

    def gap(self, verdict: Verdict, part: PartKind, where: str, why: str) -> None:
        self._ledger.gaps.setdefault((verdict, part, where, why), {})[self.case] = None


def _reference(entries: _Entries, golden: Golden, sites: list[Site], glue: tuple[Glue, ...]) -> None:
    """Each module, tapped function and parameter of the reference belongs to exactly one site or glue step."""
    if not golden.computation:
        why = "the golden does not say what it consists of: paritygate golden describe"
        entries.gap(MISSING, PartKind.REFERENCE, entries.preset, why)
    owners: dict[str, list[str]] = defaultdict(list)
    for site in sites:
        for part in _claimed(site, golden):
            owners[part].append(site.name)
    for step in glue:
        for part in _with_parameters([step.reference], golden):
            owners[part].append(f"the glue {step.name!r}")
    parts = [(PartKind.FUNCTION if ":" in where else PartKind.MODULE, where) for where in golden.computation]
    for part, where in [*parts, *((PartKind.PARAMETER, name) for name in golden.weights)]:
        entries.part(part, where)
        if not owners[where]:
            entries.gap(MISSING, part, where, "no site and no glue step stands for it")
        elif len(owners[where]) > 1:
            entries.gap(MISMATCH, part, where, f"stood for more than once: by {' and by '.join(owners[where])}")


def _claimed(site: Site, golden: Golden) -> set[str]:
    """What a site stands for, see `Site`."""
    selectors = [port.reference.partition("|")[0].strip().split(":") for port in site.ports]
    functions = {words[1] for words in selectors if words[0] == "call"} | ({site.function} if site.function else set())
    shows_result = any(words[0] == "result" for words in selectors)
    own = [site.reference] if site.reference and shows_result and not site.function else []
    things = {*golden.computation, *golden.weights, *map(_module_of, golden.weights)}
    further = [thing for thing in things if any(fnmatchcase(thing, pattern) for pattern in site.covers)]
    found = _with_parameters([*own, *further], golden) | {f"{site.reference}:{name}" for name in functions}
    return {thing for thing in found if not any(fnmatchcase(thing, pattern) for pattern in site.left_out)}


def _with_parameters(things: list[str], golden: Golden) -> set[str]:
    return {*things, *(name for name in golden.weights if _module_of(name) in things)}


def _module_of(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _glue(
    entries: _Entries,
    golden: Golden,
    family: Family,
    compared: Collection[str],
    skipped: Mapping[str, str],
    chained: bool,
) -> None:
    """Each glue step that the reference runs is seen in values of the chained replay, where that was asked for.

    A value that was `skipped` in every cell, for the reason given, shows nothing.
    """
    preset, prompt = family.preset(golden.case.preset), family.prompt(golden.case.prompt)
    known = {address(site.name, port.name) for site in family.sites_of(preset) for port in site.ports}
    shown = {
        address(site.name, port.name)
        for site in family.sites_for(preset, prompt)
        for port in site.ports
        if Mode.CHAINED in site.modes
    }
    for step in family.glue:
        if step.reference not in golden.computation:
            continue
        entries.part(PartKind.GLUE, step.name)
        for port in step.ports:
            why = ""
            if port not in known:
                why = f"seen in {port}, which is no value of the family"
            elif chained and port in skipped and port not in compared:
                why = f"seen in {port}, which every cell skipped ({skipped[port]}); run f64 too, which has no near ties"
            elif chained and port in shown and port not in compared:
                why = f"seen in {port}, which the chained replay did not compare"
            if why:
                entries.gap(MISSING, PartKind.GLUE, step.name, why)
        if not shown & set(step.ports):
            why = f"the prompt shows none of the values that it is seen in: {', '.join(step.ports) or 'none'}"
            entries.gap(MISSING, PartKind.GLUE, step.name, why)


def _candidate(
    entries: _Entries, golden: Golden, inspection: Inspection, sites: list[Site], glue: tuple[Glue, ...]
) -> None:
    """Each module lies in a site's or is glue; parameters and weights are one to one, in shape and in value."""
    roots = [site.candidate for site in sites if site.candidate]
    joining = {step.candidate for step in glue}
    for path in inspection.modules:
        entries.part(PartKind.CANDIDATE_MODULE, path)
        if path not in joining and not any(path == root or path.startswith(f"{root}.") for root in roots):
            entries.gap(MISSING, PartKind.CANDIDATE_MODULE, path, "it lies in no site's module, and no glue step is it")
    if inspection.problem:
        why = f"its parameters are not known under the reference's names: {inspection.problem}"
        entries.gap(MISSING, PartKind.CANDIDATE, entries.preset, why)
        return
    for name, ref in golden.weights.items():
        entries.part(PartKind.CANDIDATE_PARAMETER, name)
        if name not in inspection.parameters:
            entries.gap(MISSING, PartKind.CANDIDATE_PARAMETER, name, "the candidate has no parameter for this weight")
        elif why := _differs(ref, inspection.parameters[name]):
            entries.gap(MISMATCH, PartKind.CANDIDATE_PARAMETER, name, why)
    for name in inspection.parameters:
        if name not in golden.weights:
            entries.gap(MISSING, PartKind.CANDIDATE_PARAMETER, name, "the reference has no such weight")
    for path, count in inspection.unused.items():
        entries.gap(MISSING, PartKind.CANDIDATE_PARAMETER, path, f"{count} of its elements stand for no weight")
    for path, count in inspection.shared.items():
        entries.gap(MISMATCH, PartKind.CANDIDATE_PARAMETER, path, f"{count} of its elements stand for several weights")


def _differs(weight: TensorRef, parameter: TensorRef) -> str:
    if parameter.shape != weight.shape:
        return f"shape {parameter.shape}, the weight has {weight.shape}"
    return "" if parameter.object == weight.object else "its values are not the weight's"
