"""What a program compiled for a target needs and costs, as text."""

from collections.abc import Sequence

from paritygate.core.compilation import Compilation, Outcome
from paritygate.report.parts import Banner, Column, Heading, Item, KeyValues, Part, Table, Text, Tone
from paritygate.report.text import render_parts

_TONES: dict[Outcome, Tone] = {"fits": Tone.GOOD, "too large": Tone.BAD, "failed": Tone.BAD, "lost": Tone.WARN}


def render_compilation(found: Compilation, width: int = 100, color: bool = False) -> str:
    """One compilation whole."""
    return "\n".join(render_parts(parts_of(found), width, color)) + "\n"


def render_sweep(found: Sequence[Compilation], width: int = 100, color: bool = False) -> str:
    """One line a layout, in the order given; what they share is said once."""
    order = found[0].order
    asked = f"{order.size} on {order.target}: {order.mode}, {order.dtype}, batch {order.batch}, length {order.length:,}"
    fitting = [each for each in found if each.outcome == "fits"]
    best = f"{fitting[0].order.mesh} is the fastest of those that fit." if fitting else "No layout fits."
    parts: list[Part] = [
        Banner(f"{len(fitting)} of {len(found)} FIT", f"{asked}. {best}", Tone.GOOD if fitting else Tone.BAD),
        _table(("layout",), [((each.order.mesh,), each) for each in found]),
    ]
    return "\n".join(render_parts(parts, width, color)) + "\n"


def summary_table(found: Sequence[Compilation]) -> Table:
    """One line a case and cell."""
    return _table(("case", "cell"), [((each.order.name, each.cell), each) for each in found])


def _table(named: Sequence[str], found: Sequence[tuple[Sequence[str], Compilation]]) -> Table:
    numbers = ("memory", "at least", "compute", "memory time", "links", "compiled in")
    columns = [*map(Column, named), Column(""), *(Column(title, "right") for title in numbers), Column("why not")]
    return Table(
        tuple(columns), tuple((*(Item(name, Tone.CODE) for name in names), *_line(each)) for names, each in found)
    )


def _line(each: Compilation) -> tuple[Item, ...]:
    roof = each.roofline
    times = (
        [_seconds(s) for s in (roof.bound_s, roof.compute_s, roof.memory_s, roof.communication_s)] if roof else [""] * 4
    )
    return (
        Item(each.outcome, _TONES[each.outcome]),
        Item(gigabytes(each.needed_bytes) if each.needed_bytes else ""),
        *map(Item, times),
        Item(f"{each.compile_s:.0f} s" if each.compile_s else ""),
        Item(each.reason),
    )


def parts_of(found: Compilation) -> list[Part]:
    """What one compilation says, whole."""
    order, chip = found.order, found.order.target.chip
    asked = f"{order.size}, {order.mode}, batch {order.batch}, length {order.length:,}: {found.cell}"
    room = f"{gigabytes(found.needed_bytes)} of {gigabytes(chip.memory_bytes)} a device" if found.needed_bytes else ""
    lines = tuple(text for text in (room, found.reason, f"compiled in {found.compile_s:.0f} s") if text)
    parts: list[Part] = [Banner(found.outcome.upper(), asked, _TONES[found.outcome], lines)]
    made, roof = found.compiled, found.roofline
    if made is not None:
        memory = " · ".join(f"{kind} {gigabytes(size)}" for kind, size in made.program.memory_bytes.items())
        parts.append(KeyValues((("memory", Item(memory)), ("work", Item(f"{made.flops / 1e12:,.3g} TFLOP a device")))))
    if made is not None and roof is not None:
        each = (("compute", roof.compute_s), ("memory", roof.memory_s), ("links", roof.communication_s))
        said = " · ".join(f"{name} {_seconds(value)}" for name, value in each)
        parts.append(KeyValues((("at least", Item(f"{_seconds(roof.bound_s)}, by {roof.bound_by} ({said})")),)))
        parts += [
            Heading("Products, as compiled"),
            _dots(found),
            Heading("Collectives, a pass and device"),
            _rows(found),
        ]
    notes = [*found.notes, *(roof.notes if roof else ())]
    notes += [f"turns not known, counted once: loop at {line}" for line in (made.loops if made else ())]
    return [*parts, *(Text(note, Tone.MUTED) for note in notes)]


def _dots(found: Compilation) -> Table:
    titles = ("line", "operands", "gives", "precision", "passes", "kernel", "times", "TFLOP")
    rows = tuple(
        tuple(
            map(
                Item,
                (
                    dot.line, f"{dot.lhs} {dot.rhs}", dot.result, dot.precision, str(dot.passes or ""), dot.kernel,
                    f"{dot.count:,}", f"{dot.flops / 1e12:.3g}",
                ),
            )
        )
        for dot in (found.compiled.dots if found.compiled else ())
    )  # fmt: skip
    return Table(tuple(Column(title, "right" if place > 5 else "left") for place, title in enumerate(titles)), rows)


def _rows(found: Compilation) -> Table:
    titles = ("kind", "dtype", "over", "times", "gives", "sent")
    rows = tuple(
        tuple(
            map(
                Item,
                (
                    row.kind, row.dtype, row.axes, f"{row.count:,}", gigabytes(row.result_bytes),
                    gigabytes(row.wire_bytes),
                ),
            )
        )
        for row in found.traffic
    )  # fmt: skip
    return Table(tuple(Column(title, "right" if place > 2 else "left") for place, title in enumerate(titles)), rows)


def gigabytes(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{size / 1e6:,.2f} MB"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
