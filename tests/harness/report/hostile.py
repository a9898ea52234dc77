"""A run whose every name is hostile: to a terminal, to a runner of GitHub, to Markdown, HTML and XML."""

from dataclasses import replace
from types import ModuleType

from paritygate.core.blame import Blame, Parting
from paritygate.core.comparison import Comparison
from paritygate.core.coverage import Coverage, Gap, PartKind
from paritygate.core.drift import Row, Verdict
from paritygate.core.hypothesis import Counterfactual, Explanation
from paritygate.core.lint import Lint, Noted
from paritygate.core.program import Change, ProgramChanges
from paritygate.report.data import ReportData

NAMES = (
    "a\n::error file=x,title=owned::owned",
    "a\r\n::set-output name=verdict::pass",
    "%0A::warning::owned",
    "##[error]owned",
    "::stop-commands::owned",
    "x | y || z",
    "`code` ``` fence",
    "</code></pre></summary></details><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "@everyone and @org/team",
    "fixes #1, GH-2, org/repo#3",
    "https://evil.example www.evil.example",
    "[link](javascript:alert(1)) ![image](x)",
    "# heading\n\n* item\n\n---",
    "&lt;script&gt; &#60;",
    "\x00\x01\x08\x1b[31mred\x7f\x9b",
    "\u202eright to left\u2066\u200b\ufeff",
    "\ud800 lone surrogate \ufffe",
    "]]> <!-- comment --> <!ENTITY x 'y'>",
    "x" * 5000,
)


def _row(row: Row, name: str) -> Row:
    drift = replace(row.drift, case=name, site=name, port=f"out.{name}", detail=name, dtype=name, layout=name)
    return replace(row, drift=drift, reason=name, evidence=name, origin=row.origin and f"{name}:out")


def hostile(synthetic: ModuleType) -> ReportData:
    """Rows, some of every verdict, each with one of the names wherever a name can be."""
    made = synthetic.rows("all", layers=2)
    rows = tuple(_row(row, NAMES[i % len(NAMES)]) for i, row in enumerate(made))
    kept = {row.drift.key: row for row in rows}  # a name more often than once in a place makes one row of many
    rows = tuple(kept.values())
    first = next(row for row in rows if row.verdict is Verdict.OVER_BUDGET)
    blames = tuple(
        Blame(n, first.drift.cell, "chained", row.drift.address, parting=Parting(row.drift.address, f"{n}:3", n, 1.0))
        for n, row in zip(NAMES, rows, strict=False)
    )
    said = tuple(
        Counterfactual(n, first.drift.cell, "chained", row.drift.address, 3, 1, 2, (Explanation(n, n, 3),))
        for n, row in zip(NAMES, rows, strict=False)
    )
    gaps = tuple(Gap(Verdict.MISSING, PartKind.MODULE, n, n, (n,)) for n in NAMES)
    new = tuple(Noted(n, "island", n, n, n, (n,), (n,)) for n in NAMES)
    changes = ProgramChanges(tuple(Change(n, n, n) for n in NAMES))
    compared = synthetic.comparison()
    changed = [replace(c, after=_row(c.row, NAMES[i % len(NAMES)])) for i, c in enumerate(compared.changed[:40])]
    info = synthetic.info(
        id=NAMES[0],
        suite=NAMES[1],
        cases=NAMES,
        problems=NAMES,
        command=NAMES,
        versions=dict(zip(NAMES, NAMES, strict=True)),
    )
    return ReportData(
        info, rows, NAMES[7], Coverage(gaps=gaps), said, Lint(new), blames, program_changes=changes,
        comparison=Comparison(NAMES[0], tuple(changed)),
    )  # fmt: skip
