"""What a row that differs shows: a sentence in the words of its family, edges for its map. Reads and writes nothing.

`f64 differs by 3e-2 from the first token of the second chunk on`
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paritygate.core.cell import Cell, MeshLayout
from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.core.error_map import Edge
from paritygate.core.family import Family, PromptRow
from paritygate.core.golden import Golden
from paritygate.core.site import Kind
from paritygate.core.where import Block, Where
from paritygate.judge.diagnose import diverged
from paritygate.judge.factors import factor_words, sizes_in
from paritygate.judge.meshes import faulty_layouts, parts_of
from paritygate.metrics.base import LARGEST

# What rows of a prompt may have that others of it have not.
_TRAITS: dict[str, Callable[[PromptRow], bool]] = {
    "padded on the left": lambda row: row.pad_left > 0,
    "padded on the right": lambda row: row.pad_right > 0,
    "with holes": lambda row: bool(row.holes),
    "with pictures": lambda row: bool(row.pictures),
    "without pictures": lambda row: not row.pictures,
    "that starts late": lambda row: row.start > 0,
}


@dataclass(frozen=True)
class _Terms:
    """A case in its family's words: sizes of its config, lengths of blocks, rows, slots of each call of a site."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    blocks: tuple[tuple[Block, int], ...] = ()
    rows: tuple[PromptRow, ...] = ()
    spans: Mapping[tuple[str, int], tuple[int, int]] = field(default_factory=dict)


def with_evidence(
    rows: Iterable[Row],
    goldens: Mapping[str, Golden],
    families: Mapping[str, Family],
    layouts: Mapping[str, MeshLayout],
) -> list[Row]:
    """The same rows, those that differ with evidence and edges. A family that is not known has no words of its own.

    `layouts` are the mesh layouts of the cells.
    """
    rows = list(rows)
    terms = {case: _terms(golden, families.get(golden.case.family)) for case, golden in goldens.items()}
    axes = {
        golden.case.family: known.axes for golden in goldens.values() if (known := families.get(golden.case.family))
    }
    of_layouts = faulty_layouts(rows, layouts)

    def shown(row: Row) -> Row:
        words, letters = terms[row.drift.case], axes.get(goldens[row.drift.case].case.family, {})
        parts = tuple(parts_of(row.drift, layouts[row.drift.cell], letters, words.rows))
        edges = _edges(row, (*words.blocks, *parts), words.rows)
        if row.diagnosis is not Diagnosis.SHARDING:
            return replace(row, evidence=_sentence(row, words), edges=edges)
        sentence = _sentence(row, replace(words, blocks=(*parts, *words.blocks)))
        return replace(row, evidence=f"{sentence}; {of_layouts[row.drift.key]}", edges=edges)

    return [shown(row) if diverged(row) else row for row in rows]


def _edges(row: Row, blocks: Iterable[tuple[Block, int]], prompt: Sequence[PromptRow]) -> tuple[Edge, ...]:
    """The edges of blocks that lie on a row's map. Blocks of tokens are blocks of keys too, where both count alike."""
    if row.drift.error_map is None:
        return ()
    sides = (*row.drift.error_map.down, *row.drift.error_map.across)
    letters = {axis.letter for axis in sides}
    alike = {"T": "TS" if "T" not in letters or not any(each.pad_left for each in prompt) else "T"}
    return tuple(
        Edge(axis.letter, block.name, length)
        for block, length in blocks
        for axis in sides
        if axis.letter in alike.get(block.axis, block.axis) and 0 < length < axis.first + axis.size
    )


def _terms(golden: Golden, family: Family | None) -> _Terms:
    case = golden.case
    preset = next((p for p in family.presets if p.name == case.preset), None) if family else None
    prompt = next((p for p in family.prompts if p.name == case.prompt), None) if family else None
    if family is None or preset is None or prompt is None:
        return _Terms(sizes_in(golden.config))
    lengths = ((block, _value(golden.config, block.size)) for block in family.blocks)
    sites = family.sites_for(preset, prompt) if prompt.pieces else []
    return _Terms(
        sizes_in(golden.config),
        tuple((block, length) for block, length in lengths if isinstance(length, int)),
        prompt.rows,
        {(site.name, call): prompt.span(site, call) for site in sites for call in range(site.calls)},
    )


def _value(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of a preset's config; None where there is none."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _sentence(row: Row, terms: _Terms) -> str:
    drift, dtype = row.drift, Cell.parse(row.drift.cell).dtype
    if drift.placement:
        return f"in {dtype} {drift.placement}"
    if row.verdict is Verdict.MISMATCH:
        return f"{dtype} gives another kind of value: {row.reason}"
    words = [_piece(terms.spans.get((drift.site, drift.call))), *(_place(part, terms) for part in drift.where)]
    places = ", ".join(part for part in words if part) or "everywhere"
    if row.verdict is Verdict.NONFINITE:
        return f"not finite in {dtype}: {drift.nonfinite:,} of {math.prod(drift.shape):,} values {places}"
    agrees = ", and f64 agrees" if row.diagnosis is Diagnosis.PRECISION else ""
    if drift.kind != Kind.FLOAT:
        share = 100.0 * (1.0 - drift.metrics.get("agreement", 1.0))
        return f"{dtype} differs in {share:.2g} % of the elements {places}{agrees}"
    own = f", and by {_short(drift.noise['rel_l2'])} from itself when called again" if "rel_l2" in drift.noise else ""
    factor = f"; {said}" if (said := factor_words(drift.ratios, terms.sizes)) else ""
    return f"{dtype} differs by {_short(drift.metrics.get('rel_l2', 0.0))}{_times(row)} {places}{agrees}{own}{factor}"


def _short(value: float) -> str:
    """Two digits: 3.1e-2."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _times(row: Row) -> str:
    """`, 3.6× the noise,` where the limit is a factor on it."""
    judgement = row.worst_judgement
    if judgement is None or judgement.ratio == judgement.value or judgement.ratio >= LARGEST:
        return ""
    return f", {judgement.metric} {judgement.ratio:.2g}× the noise,"


def _piece(span: tuple[int, int] | None) -> str:
    """Which piece of a prompt that is fed in pieces."""
    if span is None:
        return ""
    start, end = span
    return f"in the piece of slot {start}" if end - start == 1 else f"in the piece of slots {start} to {end - 1}"


def _place(part: Where, terms: _Terms) -> str:
    for block, length in terms.blocks:
        if words := block.words(part, length):
            return words
    for words, has in _TRAITS.items():
        rows = tuple(i for i, row in enumerate(terms.rows) if has(row))
        if part.axis == "B" and part.pattern == "at" and part.places == rows:
            return f"in the row{'s' if len(rows) > 1 else ''} {words}"
    return part.words
