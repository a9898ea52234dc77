"""Looks at the programs of a cell before they run: precision lint of each pass, and on a mesh each program's summary.

What it compiles is what the pass then runs.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import ref

from jax.stages import Compiled, Traced

from paritygate.audit.compiled import lint_compiled
from paritygate.audit.lint import lint
from paritygate.audit.programs import mesh_of, summary_of, versions
from paritygate.core.codec import to_json
from paritygate.core.lint import Finding
from paritygate.core.program import Program
from paritygate.replay.bench import Bench
from paritygate.replay.observe import Way


class Looker:
    """The programs of one cell; `emit(kind, value)` is called with what is found in them."""

    def __init__(self, emit: Callable[[str, Any], None]):
        self._emit = emit
        self._number: Counter[tuple[str, str]] = Counter()
        # By case, weakly: what is held would keep its constants.
        self._seen: dict[str, list[ref[Any]]] = {}
        self._said: set[Finding] = set()

    def pass_(self, bench: Bench, traced: Traced, way: Way) -> None:
        """A pass of the whole model: what was found in an earlier one of the cell is not said again."""
        if self._is_known(bench, traced):  # of another piece, of the same shapes
            return
        named, compute = (bench.case.id, str(bench.cell), traced.jaxpr), bench.policy.dtype("compute")
        compiled = traced.lower().compile()
        if bench.grid is not None:
            self._number[bench.case.id, way] += 1
            self._summarise(bench, compiled, f"{way} {self._number[bench.case.id, way]}")
        for finding in (*lint(*named, compute), *lint_compiled(*named, compiled.as_text() or "", compute)):
            if finding not in self._said:
                self._said.add(finding)
                self._emit("finding", to_json(finding))

    def site(self, bench: Bench, traced: Traced, site: str) -> None:
        """A site alone on a mesh; one that is the same program as an earlier one of its case is not said again."""
        if not self._is_known(bench, traced):
            self._summarise(bench, traced.lower().compile(), site)

    def _is_known(self, bench: Bench, traced: Traced) -> bool:
        seen = self._seen.setdefault(bench.case.id, [])
        if any(traced.jaxpr is other() for other in seen):
            return True
        seen.append(ref(traced.jaxpr))
        return False

    def _summarise(self, bench: Bench, compiled: Compiled, name: str) -> None:
        if mesh := mesh_of(compiled):
            named: Program = replace(
                summary_of(compiled, mesh), name=f"{bench.case.id} {name}", cell=str(bench.cell), versions=versions()
            )
            self._emit("program", to_json(named))
