"""Where a drift comes from, line by line: the parts that the report, `show` and `explain` have in common."""

from collections.abc import Sequence

from paritygate.core.blame import Blame, BlamedFault
from paritygate.report.parts import PROSE, Column, Item, Part, Table, Text, Tone
from paritygate.report.words import number

LINES_SHOWN = 8
LEAST = 0.005  # a share that is shown: half a percent
NOT_ROUNDING_X = 0.1  # float64's part of the drift, above which shares of rounding are not the story
UNEQUAL = 1e-6  # how far all parts together may be from the drift that they are parts of


def blame_parts(blame: Blame) -> list[Part]:
    if blame.reason or blame.parting is not None or not blame.lines:
        return [Text(f"{blame.text}.", Tone.WARN if blame.reason else Tone.PLAIN)]
    parts: list[Part] = [
        Text(
            f"Drift of the run {number(blame.drift)}, of the program one equation after another"
            f" {number(blame.lockstep)}, of the same program in float64 {number(blame.exact)}."
            f" Raised: what it is with that line alone in {blame.raised_to}."
        )
    ]
    if blame.exact > NOT_ROUNDING_X * blame.lockstep:
        said = "In float64 the program is far from the reference too, which no rounding explains: see its f64 cell."
        parts.append(Text(said, Tone.WARN))
    if blame.unequal > UNEQUAL:
        said = f"All parts together miss the drift by {number(blame.unequal)} of it: do not trust the shares."
        parts.append(Text(said, Tone.WARN))
    parts.append(_table(blame))
    if blame.own_dtype:
        parts.append(Text(f"In its own dtype, and so of no share: {', '.join(blame.own_dtype)}.", Tone.MUTED))
    best = blame.best
    if best is not None and best is not blame.lines[0]:
        parts.append(Text(f"Raising {best.line} ({best.function}) gives back most."))
    return parts


def _table(blame: Blame) -> Table:
    shown = [line for line in blame.lines if line.share >= LEAST][:LINES_SHOWN] or list(blame.lines[:1])
    rest = 1 - sum(line.share for line in shown) - blame.inputs - blame.weights - blame.remainder
    rows = [
        (
            _share(line.share),
            Item(line.line, Tone.CODE),
            Item(line.function, Tone.CODE),
            Item(line.words),
            Item("" if line.raised is None else number(line.raised)),
        )
        for line in shown
    ]
    none = Item("")
    others = (
        ("golden inputs, rounded to the cell's dtypes", blame.inputs),
        ("weights, rounded", blame.weights),
        ("other lines", rest),
        ("what lines do only together", blame.remainder),
    )
    rows += [(_share(share), none, none, Item(what, Tone.MUTED), none) for what, share in others if abs(share) >= LEAST]
    columns = (
        Column("share", "right"),
        Column("line"),
        Column("function"),
        Column("what rounds most", least=PROSE),
        Column("raised", "right"),
    )
    return Table(columns, tuple(rows))


def faults_table(found: Sequence[BlamedFault]) -> Table:
    """One line a planted fault: the value that differs first, the line that is ranked first, and where what was planted
    is."""
    rows = []
    for each in found:
        blame = each.blame
        first = blame.lines[0] if blame and blame.lines else None
        why = blame.reason if blame else "no row differs by precision"
        right = "first" if each.place == 1 else f"at place {each.place}" if each.place else "not ranked"
        rows.append(
            (
                Item(each.fault),
                Item(each.cell.partition("/")[0], Tone.CODE),
                Item(blame.address if blame else "", Tone.CODE),
                Item(number(blame.drift) if blame else ""),
                Item(f"{first.line} {first.words}" if first else why, Tone.CODE if first else Tone.WARN),
                _share(first.share) if first else Item(""),
                Item(number(first.raised) if first and first.raised is not None else ""),
                Item(right if first else "", Tone.GOOD if each.place == 1 else Tone.WARN),
                Item(("yes" if each.gives_most else "no") if first else "", Tone.PLAIN),
            )
        )
    titles = ("fault", "cell", "first row", "drift", "ranked first", "share", "raised", "planted", "gives most")
    return Table(
        tuple(Column(t, "right" if t in ("drift", "share", "raised") else "left") for t in titles), tuple(rows)
    )


def _share(share: float) -> Item:
    return Item(f"{share:.0%}")
