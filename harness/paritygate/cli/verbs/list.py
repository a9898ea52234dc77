"""`list`: what there is to name: families, cases, sites, config branches, cells, metrics, faults."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from paritygate.cli.verb import Context, Json, Verb
from paritygate.core.errors import ExitCode, unknown_name


class Noun(StrEnum):
    FAMILIES = "families"
    CASES = "cases"
    SITES = "sites"
    BRANCHES = "branches"
    CELLS = "cells"
    METRICS = "metrics"
    FAULTS = "faults"


What = Annotated[Noun, typer.Argument(metavar="|".join(Noun), help="What to list.")]
Within = Annotated[
    str,
    typer.Argument(metavar="[NAME]", help="Of a family; cases, sites, branches: or of a preset. All if left out."),
]

Line = tuple[dict[str, Any], str]  # as JSON, as text


def list_(context: Context, what: What, name: Within = "", as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import say, say_json

    lines, next_command = LISTS[what](name)
    if as_json:
        say_json([record for record, _ in lines])
        return ExitCode.PASS
    say(*(text for _, text in lines))
    one = {"families": "family", "branches": "branch"}.get(what, what[:-1])
    say(f"{len(lines):,} {one if len(lines) == 1 else what.value}")
    if next_command:
        say(f"next    {next_command}")
    return ExitCode.PASS


def _families(name: str) -> tuple[list[Line], str]:
    from paritygate.catalog.select import families

    lines = []
    for family in families().values():
        presets, suites = [preset.name for preset in family.presets], list(family.suites)
        record = {"name": family.name, "presets": presets, "suites": suites, "doc": family.doc}
        lines.append(
            (record, f"{family.name:<12} {family.doc}\n    presets {', '.join(presets)} · suites {', '.join(suites)}")
        )
    return lines, "paritygate list cases"


def _cases(name: str) -> tuple[list[Line], str]:
    from paritygate.catalog.full import FULL
    from paritygate.catalog.select import families, suites
    from paritygate.catalog.sizes import SIZES

    known, lines = families(), []
    names = [*known, *(preset.name for family in known.values() for preset in family.presets), *suites(), FULL, *SIZES]
    if name and name not in names:
        raise unknown_name("family, preset or suite", name, names)
    for suite, cases in suites().items():
        for case in cases:
            if name in ("", suite, case.family, case.preset):
                doc = known[case.family].prompt(case.prompt).doc
                record = {"id": case.id, "suite": suite, "family": case.family, "doc": doc}
                lines.append((record, f"{suite}  {case.id:<28} {doc}".rstrip()))
    for size in SIZES.values():
        for each in size.passes if name in ("", FULL, size.family, size.name) else ():
            record = {"id": f"{size.name}.{each}", "suite": FULL, "family": size.family, "doc": size.doc}
            lines.append((record, f"{FULL}  {size.name}.{each:<{27 - len(size.name)}} {size.doc}"))
    return lines, "paritygate run full" if name in (FULL, *SIZES) else "paritygate capture CASE"


def _sites(name: str) -> tuple[list[Line], str]:
    from paritygate.catalog.select import families

    known = families()
    names = [*known, *(preset.name for family in known.values() for preset in family.presets)]
    if name and name not in names:
        raise unknown_name("family or preset", name, names)
    lines = []
    for family in known.values():
        for preset in family.presets:
            if name not in ("", family.name, preset.name):
                continue
            for site in family.sites_of(preset):
                ports = [port.name for port in site.ports]
                record = {"preset": preset.name, "site": site.name, "ports": ports, "modes": list(site.modes)}
                lines.append((record, f"{preset.name}  {site.name:<28} {' '.join(ports)}"))
    return lines, "paritygate show latest SITE:PORT"


def _branches(name: str) -> tuple[list[Line], str]:
    from paritygate.catalog.select import families

    known, lines = families(), []
    names = [*known, *(preset.name for family in known.values() for preset in family.presets)]
    if name and name not in names:
        raise unknown_name("family or preset", name, names)
    for family in known.values():
        presets = [preset for preset in family.presets if name in ("", family.name, preset.name)]
        for branch in family.branches if presets else ():
            for value in branch.values:
                takers = [preset.name for preset in presets if value in branch.taken(preset)]
                record = {"family": family.name, "key": branch.key, "value": value, "presets": takers}
                said = f"{family.name}  {branch.key} = {value}"
                lines.append((record | {"doc": branch.doc}, f"{said:<64} {', '.join(takers) or 'no preset'}"))
    return lines, "paritygate report latest --text coverage"


def _cells(name: str) -> tuple[list[Line], str]:
    from paritygate.catalog.select import DEFAULT_CELLS, meshes, policies, select_cells

    default, lines = set(select_cells(DEFAULT_CELLS)), []
    for policy in policies().values():
        for mesh in meshes():
            for cell in select_cells(f"{policy.name} x {mesh} x cpu"):
                doc = policy.doc + (" (in the default)" if cell in default else "")
                record = {"cell": str(cell), "default": cell in default, "doc": policy.doc, "floor": policy.floor_from}
                lines.append((record, f"{cell!s:<28} {doc} Floor: {policy.floor_from}."))
    return lines, f'paritygate run --cells "{DEFAULT_CELLS}"'


def _metrics(name: str) -> tuple[list[Line], str]:
    from paritygate.metrics.base import metrics

    lines = []
    for metric in metrics().values():
        kinds = ", ".join(metric.kinds) + (f", role {metric.role}" if metric.role else "")
        record = {"name": metric.name, "unit": metric.unit, "better": metric.better, "kinds": list(metric.kinds)}
        lines.append(
            (
                record | {"role": metric.role},
                f"{metric.name:<12} {metric.better} is better, {metric.unit or '1'}; for {kinds}",
            )
        )
    return lines, "paritygate show latest"


def _faults(name: str) -> tuple[list[Line], str]:
    from paritygate.catalog.select import families, select_faults

    if name and name not in families():
        raise unknown_name("family", name, list(families()))
    lines = []
    for group, fault in select_faults():
        if name in ("", group.family):
            record = {"name": fault.name, "group": group.name, "kind": fault.kind, "case": fault.case}
            line = f"{group.name:<12} {fault.name:<40} {fault.kind:<9} {fault.case}  {fault.doc or fault.equivalent}"
            seen = {"at": fault.at, "sees": fault.sees, "mesh": fault.mesh, "doc": fault.doc}
            lines.append((record | seen, line.rstrip()))
    return lines, "paritygate mutate FAULT"


LISTS: dict[Noun, Callable[[str], tuple[list[Line], str]]] = {
    Noun.FAMILIES: _families,
    Noun.CASES: _cases,
    Noun.SITES: _sites,
    Noun.BRANCHES: _branches,
    Noun.CELLS: _cells,
    Noun.METRICS: _metrics,
    Noun.FAULTS: _faults,
}

VERB = Verb("list", list_, "What there is: families, cases, sites, config branches, cells, metrics, faults.")
