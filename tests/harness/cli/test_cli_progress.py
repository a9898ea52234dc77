"""What is shown of a long job: counts, the time left, lines in CI, a bar that fits; the clock is a number."""

import io
import sys

import pytest

from paritygate.cli.main import read_settings
from paritygate.cli.meter import Meter, elapsed_words, left_words, plain
from paritygate.cli.progress import ALIVE_EVERY_S, LINE_EVERY_S, Bar, Lines, progress
from paritygate.core.progress import STARTING, Doing, Piece

F64, F32 = "f64/single/cpu", "f32/single/cpu"
FOUR = [f"case-{number}" for number in range(4)]


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def through(meter: Meter, clock: Clock, worker: int, cell: str, case: str, takes_s: float, values: int = 10) -> None:
    """One piece, all of whose values come at its end: before, its programs are compiled."""
    meter.at(worker, Doing(cell=cell, case=case))
    clock.s += takes_s
    meter.done(worker, cell, case, values)


def test_the_first_of_a_cell_compiles_and_says_nothing_of_those_that_follow(clock: Clock) -> None:
    meter = Meter(clock)
    cases = [*(f"scout.{number}" for number in range(4)), "maverick.0", "maverick.1"]
    meter.planned([[Piece(cell, case, 10) for cell in (F64, F32) for case in cases]])
    through(meter, clock, 0, F64, cases[0], 150.0)
    for case in cases[1:4]:
        through(meter, clock, 0, F64, case, 10.0)
    # Another preset has programs of its own, and so has each cell: 3 to be compiled, 5 that follow.
    assert meter.read().left_s == 3 * 150.0 + 5 * 10.0
    through(meter, clock, 0, F64, cases[4], 90.0)
    assert meter.read().left_s == 2 * 120.0 + 5 * 10.0


def test_nothing_is_known_before_three_pieces_ended_and_then_a_cell_goes_on_as_it_did(clock: Clock) -> None:
    meter = Meter(clock)
    meter.planned([[Piece(F64, case, 10) for case in FOUR]])
    meter.at(0, Doing(cell=F64, phase=STARTING))
    clock.s += 100.0  # what starting takes is no part of a piece
    through(meter, clock, 0, F64, FOUR[0], 30.0)
    through(meter, clock, 0, F64, FOUR[1], 10.0)
    assert meter.read().left_s is None
    through(meter, clock, 0, F64, FOUR[2], 20.0)
    assert meter.read().left_s == 20.0
    meter.at(0, Doing(cell=F64, case=FOUR[3]))
    clock.s += 15.0
    assert meter.read().left_s == 5.0, "of what is at work the time that it took is taken off"
    clock.s += 10.0
    assert meter.read().left_s is None, "it takes longer than it should, and nobody knows how much"
    meter.done(0, F64, FOUR[3], 10)
    reading = meter.read()
    assert (reading.done, reading.total, reading.elapsed_s) == (40, 40, 185.0)


def test_larger_pieces_take_longer_and_cells_have_rates_of_their_own(clock: Clock) -> None:
    meter = Meter(clock)
    meter.planned(
        [[Piece(F64, "small", 10), Piece(F64, "large", 40), Piece(F32, "small", 10), Piece(F32, "large", 40)]]
    )
    through(meter, clock, 0, F64, "small", 20.0)
    through(meter, clock, 0, F64, "large", 80.0, 40)
    through(meter, clock, 0, F32, "small", 5.0)
    assert meter.read().left_s == 20.0, "f32 takes 0.5 s a value, whatever f64 took"


def test_workers_side_by_side_are_through_when_the_last_of_them_is(clock: Clock) -> None:
    meter = Meter(clock)
    jobs = [[Piece(cell, case, 10) for case in FOUR] for cell in (F64, F32)]
    meter.planned([*jobs, [Piece("bf16/tp4/cpu", case, 10) for case in FOUR[:2]]], workers=2)
    for case in FOUR[:3]:
        meter.at(0, Doing(cell=F64, case=case))
        through(meter, clock, 1, F32, case, 10.0)
        meter.done(0, F64, case, 10)
    # Both have 10 s to go; the third job starts when the first of them is through, and has 20.
    assert meter.read().left_s == 30.0


def test_of_jobs_nobody_has_seen_anything_of_nothing_is_promised(clock: Clock) -> None:
    meter = Meter(clock)
    meter.planned([[Piece(F32, case, 10) for case in FOUR], [Piece("bf16/tp4/cpu", case, 10) for case in FOUR]])
    for case in FOUR[:3]:
        through(meter, clock, 0, F32, case, 1.0)
    assert meter.read().left_s is None, "meshes are most of what is left, and may take a hundred times as long"
    through(meter, clock, 1, "bf16/tp4/cpu", FOUR[0], 100.0)
    assert meter.read().left_s == 301.0


def test_what_a_lost_worker_owes_is_waited_for_by_nobody(clock: Clock) -> None:
    meter = Meter(clock)
    meter.planned([[Piece(F32, case, 10) for case in FOUR], [Piece(F64, case, 10) for case in FOUR]], workers=2)
    meter.at(1, Doing(cell=F64, case=FOUR[0]))
    for case in FOUR[:3]:
        through(meter, clock, 0, F32, case, 10.0)
    meter.ended(1)
    assert meter.read().left_s == 10.0
    assert [doing.cell for doing, _ in meter.read().at] == [F32]


def test_what_is_there_already_counts_and_what_was_not_planned_does_not(clock: Clock) -> None:
    meter = Meter(clock)
    meter.planned([[Piece(F32, "case", 10)]], done=30)
    meter.done(0, F32, "another")
    meter.done(0, F32, "case", 4)
    reading = meter.read()
    assert (reading.done, reading.total, reading.pieces) == (34, 40, 0)


@pytest.mark.parametrize(
    ("left_s", "words"),
    [
        (None, ""),
        (0.5, "10 s left"),
        (31.0, "40 s left"),
        (57.0, "1 min left"),
        (150.0, "2 min left"),
        (3540.0, "59 min left"),
        (3599.0, "1 h 0 min left"),
        (8000.0, "2 h 10 min left"),
    ],
)
def test_time_left_is_said_no_finer_than_it_is_known(left_s: float | None, words: str) -> None:
    assert left_words(left_s) == words


def test_elapsed_time_and_names_in_words() -> None:
    assert [elapsed_words(s) for s in (7.9, 723.0, 3723.0)] == ["0:07", "12:03", "1:02:03"]
    assert plain("a\x1b[2Jb\nc\u202ed") == "a�[2Jb�c�d"


@pytest.fixture
def lines(clock: Clock) -> tuple[Lines, io.StringIO]:
    stream = io.StringIO()
    shown = Lines(stream, "", clock, lambda: "12:03:10")
    shown.planned([[Piece(F32, f"case-{number}", 10) for number in range(200)]])
    return shown, stream


def test_lines_are_few(clock: Clock, lines: tuple[Lines, io.StringIO]) -> None:
    shown, stream = lines
    for number in range(150):
        through(shown, clock, 0, F32, f"case-{number}", 1.0)
    said = stream.getvalue().splitlines()
    assert said[0] == f"12:03:10  {F32}  case-0  10 of 2,000 values"
    assert said[1] == f"12:03:10  {F32}  case-15  160 of 2,000 values  3 min left"
    assert len(said) == 10, "one every fifteen seconds"


def test_what_ended_is_said_when_a_line_is_due_and_that_it_lives_where_nothing_ends(
    clock: Clock, lines: tuple[Lines, io.StringIO]
) -> None:
    shown, stream = lines
    shown.beat()
    assert stream.getvalue() == ""
    through(shown, clock, 0, F32, "case-0", 1.0)
    through(shown, clock, 0, F32, "case-1", 1.0)
    assert len(stream.getvalue().splitlines()) == 1
    clock.s += LINE_EVERY_S
    shown.beat()
    assert "case-1  20 of 2,000" in stream.getvalue().splitlines()[-1]
    shown.at(0, Doing("", F32, "case-2", "chained", "", "compiling"))
    clock.s += ALIVE_EVERY_S - 1
    shown.beat()
    assert len(stream.getvalue().splitlines()) == 2
    clock.s += 1
    shown.beat()
    shown.beat()
    assert stream.getvalue().splitlines()[2:] == [f"12:03:10  {F32}  case-2  chained  compiling  20 of 2,000 values"]


def drawn(bar: Bar, width: int, color: str | None = None, height: int = 24) -> str:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=color, markup=False)
    bar._console = console
    console.print(bar.drawn())
    return stream.getvalue()


@pytest.fixture
def bar(clock: Clock) -> Bar:
    from rich.console import Console

    shown = Bar(Console(), "", clock)
    shown.planned([[Piece(F32, case, 1000) for case in FOUR]])
    for case in FOUR[:3]:
        through(shown, clock, 0, F32, case, 60.0, 1000)
    shown.at(0, Doing("", F32, FOUR[3], "chained", "layers.0.attn", "compiling"))
    shown.at(1, Doing("", "bf16/tp4/cpu", "a-case-with-a-name-that-is-longer-than-most-terminals-are-wide", "isolated"))
    clock.s += 12.0
    return shown


def test_the_bar_says_how_far_it_is_and_what_each_worker_is_at(bar: Bar) -> None:
    head, one, two = drawn(bar, 100).splitlines()
    assert head.rstrip().endswith("  3,000 of 4,000 values  3:12  50 s left") and head.count("━") > 25
    assert one.rstrip() == f"{F32}  case-3  chained  layers.0.attn  compiling 12 s"
    assert two.startswith("bf16/tp4/cpu  a-case-with-a-name") and two.rstrip().endswith("isolated")


@pytest.mark.parametrize("width", [20, 40, 60, 81])
def test_no_line_is_longer_than_the_terminal(bar: Bar, width: int) -> None:
    said = drawn(bar, width).splitlines()
    assert len(said) == 3 and max(map(len, said)) <= width
    assert "…" in said[2]
    assert ("━" in said[0]) == (width > 50), "words go before the bar"


def test_a_low_terminal_shows_some_workers_and_how_many_more(bar: Bar) -> None:
    for worker in range(2, 9):
        bar.at(worker, Doing(cell=f"cell-{worker}"))
    assert [line.rstrip() for line in drawn(bar, 60, height=6).splitlines()[3:]] == ["cell-2", "and 6 more workers"]


def test_colours_are_drawn_with_and_left_out(bar: Bar) -> None:
    assert "\x1b[" in drawn(bar, 100, "standard")
    assert "\x1b" not in drawn(bar, 100)


def test_names_do_not_steer_the_terminal(bar: Bar) -> None:
    bar.at(0, Doing(case="[red]evil\x1b[2J\r\n\x07"))
    assert "[red]evil�[2J���" in drawn(bar, 100)


@pytest.mark.parametrize(
    ("environ", "watched", "shows", "color"),
    [
        ({}, True, "bar", True),
        ({}, False, "nothing", False),
        ({"CI": "true"}, False, "lines", False),
        ({"CI": "true"}, True, "lines", True),
        ({"CI": "false"}, False, "nothing", False),
        ({"TERM": "dumb"}, True, "lines", False),
        ({"TERM": "dumb"}, False, "nothing", False),
        ({"NO_COLOR": "1"}, True, "bar", False),
    ],
    ids=str,
)
def test_what_is_shown_where(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], watched: bool, shows: str, color: bool
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: watched)
    settings = read_settings(environ, [])
    assert (settings.shows, settings.color, settings.quiet) == (shows, color, False)


def test_where_nobody_watches_lines_that_stay_are_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(read_settings({}, [])) as shown:
        shown.planned([[Piece(F32, "case", 1)]])
        shown.done(0, F32, "case")
        shown.say("captured")
    assert capsys.readouterr() == ("captured\n", "")
