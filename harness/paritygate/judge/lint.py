"""Findings of the precision lint → those that a family expects, and those that it does not. Writes nothing."""

from collections.abc import Iterable, Mapping

from paritygate.core.lint import Expected, Finding, Lint, Noted


def noted(findings: Iterable[tuple[str, Finding]], expectations: Mapping[str, tuple[Expected, ...]]) -> Lint:
    """Sorts findings, each with the name of its family, by what the families expect."""
    cells: dict[tuple[str, Finding, Expected | None], dict[str, None]] = {}
    cases: dict[tuple[str, Finding, Expected | None], dict[str, None]] = {}
    for family, finding in findings:
        row = next((row for row in expectations.get(family, ()) if row.fits(finding)), None)
        key = (family, Finding("", "", finding.rule, finding.where, finding.line, finding.what, finding.of), row)
        cells.setdefault(key, {})[finding.cell] = None
        cases.setdefault(key, {})[finding.case] = None
    used: set[tuple[str, Expected]] = set()
    kinds: dict[str, list[Noted]] = {"new": [], "expected": [], "listed": []}
    for key in sorted(cells, key=lambda key: (key[0], key[1].where, key[1].line, key[1].rule)):
        family, finding, row = key
        if row:
            used.add((family, row))
        kind = "expected" if row else "new" if expectations.get(family) else "listed"
        kinds[kind].append(
            Noted(
                family, finding.rule, finding.where, finding.line, finding.what,
                tuple(cells[key]), tuple(cases[key]), row.reason if row else "", finding.of,
            )
        )  # fmt: skip
    idle = [
        f"{family}: {row.rule} in {row.where}"
        for family, rows in expectations.items()
        for row in rows
        if (family, row) not in used
    ]
    return Lint(tuple(kinds["new"]), tuple(kinds["expected"]), tuple(kinds["listed"]), tuple(idle))
