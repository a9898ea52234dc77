"""What a dtype policy costs at the logits, part by part: for a browser, for a terminal, and for the documents."""

import math
from collections.abc import Mapping, Sequence

from paritygate.core.sensitivity import Cost, Kind, Mix, Sensitivity, summed
from paritygate.report.parts import Banner, Bar, Bars, Column, Grid, Item, Part, Section, Table, Text, Tone
from paritygate.report.render import Page, render_page
from paritygate.report.text import render_parts
from paritygate.report.words import number

READING = (
    "KL is KL(golden ‖ candidate) of the next token in nats, the mean over real tokens, and that of the worst token. "
    "Top-1 are tokens whose largest logit is another; flips are choices of the router that are. Both are counted "
    "against the float64 golden, nearly tied or not."
)
ROUNDED = (
    "Every operation is rounded to its dtype, also where XLA would join several and keep more bits "
    "(--xla_allow_excess_precision=false)."
)
WRITTEN = (
    "Bytes are what the equations of the program give, each result counted once: a measure of the work, not of what a "
    "compiler that joins operations keeps in memory."
)
_NUMBERS = (("KL", "right"), ("worst token", "right"), ("rel_l2", "right"), ("top-1", "right"), ("flips", "right"))


def sections(found: Sensitivity) -> list[tuple[Section, list[Part]]]:
    """The page as sections, for any renderer."""
    costs = summed(found.costs)

    def of(kind: Kind) -> list[Cost]:
        return [cost for (other, _), cost in costs.items() if other == kind]

    docs = {aspect.name: aspect.doc for aspect in found.aspects}
    ends = [*of("wide"), *of("narrow")]
    built: list[tuple[str, str, list[Part]]] = [
        ("mix", "The cheapest mixed policy", _mixes(found, costs)),
        (
            "policies",
            "Policies",
            [
                Text(f"Each policy on {_cases(found)}. {READING}"),
                _table(of("policy"), ("floor", found.floors), "bytes"),
            ],
        ),
        (
            "aspects",
            "One aspect at a time",
            [
                Text(f"One aspect in {_low(found)}, the rest in float32. {ROUNDED}"),
                _bars(f"KL with one aspect in {_low(found)}", of("aspect")),
                _table([*of("aspect"), *ends], ("what", docs)),
            ],
        ),
        (
            "layers",
            "One layer at a time",
            [
                Text(
                    f"One layer in {found.low}, with the islands of the reference, the residual stream and the rest in "
                    "float32; cases that have the layer."
                ),
                _bars(f"KL with one layer in {found.low}", of("layer")),
                _table(of("layer")),
            ],
        ),
        (
            "raised",
            "One aspect raised",
            [
                Text(f"One aspect in float32, the rest in {_low(found)}. {WRITTEN}"),
                _table([*of("narrow"), *of("raised")], written="bytes"),
            ],
        ),
    ]
    return [
        (Section(name, place, title, lambda data: ()), parts)
        for place, (name, title, parts) in enumerate(built)
        if name != "layers" or of("layer")
    ]


def _cases(found: Sensitivity) -> str:
    return found.cases[0] if len(found.cases) == 1 else f"{len(found.cases)} cases of {found.suite}"


def _low(found: Sensitivity) -> str:
    return next(cost.name for cost in found.costs if cost.kind == "narrow")


def found_mix(found: Sensitivity) -> Mix | None:
    """The mix that keeps the budget, where one does."""
    last = found.mixes[-1] if found.mixes else None
    return last if last and not last.measured.problem and last.measured.kl <= found.budget else None


def _mixes(found: Sensitivity, costs: dict[tuple[Kind, str], Cost]) -> list[Part]:
    mix, low = found_mix(found), _low(found)
    budget = f"budget {number(found.budget)} nats: {found.budget_from}"
    if mix is None:
        said = f"None of the {len(found.mixes)} mixes that were tried keeps the budget."
        parts: list[Part] = [Banner("NONE", said, Tone.BAD, (budget,))]
    else:
        raised = ", ".join(mix.raised) or "nothing"
        narrow, wide = costs["narrow", low].written_bytes, costs["wide", "float32"].written_bytes
        written = mix.measured.written_bytes
        shares = f"{_part(written, narrow)} of those of all in {low}, {_part(written, wide)} of those of all in float32"
        lines = (
            f"KL {number(mix.measured.kl)} nats, {number(mix.predicted_kl)} predicted; {budget}",
            f"bytes written: {shares}",
        )
        parts = [Banner("MIX", f"In float32: {raised}. The rest in {low}.", Tone.GOOD, lines)]
    rows = [
        (
            Item(", ".join(each.raised) or "nothing"),
            Item(number(each.predicted_kl)),
            Item(_kl(each.measured), Tone.GOOD if each is mix else Tone.BAD),
            Item(_bytes(each.predicted_bytes)),
            Item(_bytes(each.measured.written_bytes)),
        )
        for each in found.mixes
    ]
    titles = ("in float32", "KL predicted", "KL measured", "bytes predicted", "bytes measured")
    columns = tuple(Column(title, "right" if place else "left") for place, title in enumerate(titles))
    how = (
        "Predicted: the KL of each narrow aspect alone added up, that of the tables below where none or one is raised, "
        "and the bytes that raising each one adds. Tried from the fewest bytes on, until one keeps the budget when it "
        "is measured. What products are summed in costs no "
        "bytes, so it is never lowered."
    )
    return [*parts, Table(columns, tuple(rows)), Text(how, Tone.MUTED)]


def _part(value: int, whole: int) -> str:
    return f"{100 * value / whole:.0f} %"


def _kl(cost: Cost) -> str:
    return cost.problem or number(cost.kl)


def _bytes(value: int) -> str:
    return f"{value / 1e6:,.1f} MB" if value else ""


def _table(costs: Sequence[Cost], last: tuple[str, Mapping[str, str]] = ("", {}), written: str = "") -> Table:
    """One line a cost; `last` is the title of a column and its text by name, `written` the title of the bytes."""
    columns = [Column("in"), *(Column(title, "right") for title, _ in _NUMBERS)]
    columns += [Column(written, "right")] if written else []
    title, texts = last
    columns += [Column(title)] if title else []
    rows = []
    for cost in costs:
        cells = [number(cost.kl), number(cost.kl_max), number(cost.rel_l2)]
        cells += [_of(cost.top1, cost.tokens), _of(cost.flips, cost.choices)]
        if cost.problem:
            cells = [cost.problem, *[""] * 4]
        cells += [_bytes(cost.written_bytes)] if written else []
        cells += [texts.get(cost.name, "")] if title else []
        rows.append((Item(cost.name, Tone.CODE), *(Item(cell) for cell in cells)))
    return Table(tuple(columns), tuple(rows))


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole:,}" if whole else ""


def _bars(title: str, costs: Sequence[Cost]) -> Bars:
    """On a logarithmic scale, from a tenth of the least on."""
    seen = [cost.kl for cost in costs if 0 < cost.kl < math.inf]
    least = min(seen, default=1.0) / 10
    decades = math.log10(max(seen, default=1.0) / least)

    def share(cost: Cost) -> float:
        if cost.problem:
            return 1.0
        return max(math.log10(cost.kl / least) / decades, 0.0) if cost.kl > 0 else 0.0

    ranked = sorted(costs, key=lambda cost: -cost.kl)
    bars = tuple(Bar(cost.name, share(cost), "not finite" if cost.problem else number(cost.kl)) for cost in ranked)
    return Bars(title, bars, f"Nats, logarithmic, from {number(least)} on.")


def render_text(found: Sensitivity, width: int = 100, color: bool = False) -> str:
    blocks = [
        "\n".join([*([section.title.upper()] if place else []), *render_parts(parts, width, color)])
        for place, (section, parts) in enumerate(sections(found))
    ]
    return "\n\n".join(blocks) + "\n"


def render_html(found: Sensitivity, run: str, started: str) -> str:
    """One offline page, as the report of a run is one."""
    version = found.versions.get("paritygate", "")
    return render_page(Page("sensitivity", found.suite, run, started, version), sections(found))


def render_markdown(found: Sensitivity) -> str:
    """`golden/DTYPES.md`."""
    lines = [
        "# What dtypes cost",
        "",
        "What each dtype policy, and each part of one, costs at the logits. Written by `paritygate dtypes --write`,",
        "never by hand; the numbers are in `sensitivity.json`.",
    ]
    for section, parts in sections(found):
        lines += ["", f"## {section.title}"]
        for part in parts:
            lines += ["", *_markdown(part)]
    return "\n".join(lines) + "\n"


def _markdown(part: Part) -> list[str]:
    match part:
        case Text():
            return [part.text]
        case Banner():
            return [part.sentence, "", *(f"- {line}" for line in part.lines)]
        case Table():
            rows = [[item.text for item in (row[i] for i in part.kept)] for row in part.rows]
            columns = [part.columns[i] for i in part.kept]
            head = [[column.title for column in columns], ["---:" if c.align == "right" else "---" for c in columns]]
            return [f"| {' | '.join(cells)} |" for cells in [*head, *rows]]
        case Bars():
            width = max(len(bar.label) for bar in part.bars)
            drawn = [f"{bar.label:<{width}}  {'█' * round(bar.share * 40) or '▏'} {bar.text}" for bar in part.bars]
            return ["```text", part.title, *drawn, part.caption, "```"]
        case Grid():
            return [line for inner in part.parts for line in _markdown(inner)]
        case _:
            raise TypeError(f"{type(part).__name__} has no Markdown")
