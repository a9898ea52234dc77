"""Accepting drifts, and reading back what was accepted."""

import pytest
from judge_rows import BF16, F64, row

from paritygate.core.codec import canonical
from paritygate.core.drift import Verdict
from paritygate.core.errors import UsageError
from paritygate.store.baseline import approve, read_baseline

ROWS = [
    row("l.0.attn:out", Verdict.OVER_BUDGET, cell=BF16, order=1, share=2.0),
    row("l.0.attn:out#1", Verdict.REGRESSED, cell=BF16, order=2, share=3.0),
    row("l.1.attn:out", Verdict.PASS, cell=BF16, mode="chained", order=3, share=0.5),
    row("l.1.attn:out", Verdict.MISSING, cell=F64, order=4),
    row("l.1.mlp:out", Verdict.NONFINITE, cell=F64, order=5),
    row("l.2.mlp:out", Verdict.MISMATCH, cell=F64, order=6),
    row("l.3.mlp:out", Verdict.ERROR, cell=F64, order=7),
    row("l.4.mlp:out", Verdict.SKIPPED, cell=F64, order=8, reason="stated"),
    row("l.0.attn:out", Verdict.OVER_BUDGET, cell="bf16/single/gpu", order=1, share=2.5),
]


def accept(path, select, reason="sums in another order", rows=ROWS, run="run-7"):
    return approve(rows, select, reason, run, path, "2026-01-02")


def test_what_is_accepted_can_be_read_back(tmp_path):
    lines = accept(tmp_path / "baselines", "toy.short/bf16/single/cpu/*/l.*")
    assert [line.key[-3:] for line in lines] == [("l.0.attn", "out", 0), ("l.0.attn", "out", 1), ("l.1.attn", "out", 0)]
    assert read_baseline(tmp_path / "baselines") == {line.key: line for line in lines}
    line = lines[0]
    assert (line.metrics, line.verdict, line.reason, line.run, line.date) == (
        {"rel_l2": 4.0}, "over_budget", "sums in another order", "run-7", "2026-01-02",
    )  # fmt: skip


def test_there_is_a_sorted_file_for_each_platform(tmp_path):
    accept(tmp_path, "*/l.0.attn:out*")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.jsonl", "gpu.jsonl"]
    assert len(read_baseline(tmp_path / "cpu.jsonl")) == 2
    accept(tmp_path, "*/bf16/single/cpu/chained/*")
    text = (tmp_path / "cpu.jsonl").read_text()
    lines = read_baseline(tmp_path / "cpu.jsonl")
    assert text == "".join(canonical(lines[key]) + "\n" for key in sorted(lines))
    assert len(lines) == 3


def test_a_new_line_replaces_the_old_one_of_the_same_row(tmp_path):
    accept(tmp_path, "*cpu*l.0.attn:out*")
    again = [row("l.0.attn:out", Verdict.OVER_BUDGET, cell=BF16, order=1, share=1.5)]
    accept(tmp_path, "*", reason="better now", rows=again, run="run-8")
    lines = read_baseline(tmp_path)
    assert {key[5]: (line.run, line.metrics["rel_l2"]) for key, line in lines.items()} == {
        0: ("run-8", 3.0),
        1: ("run-7", 6.0),
    }


@pytest.mark.parametrize("select", ["toy.short/bf16/*/l.1.*", "*/chained/*", "*:out", "*"])
def test_the_glob_is_over_the_whole_text_and_a_star_crosses_slashes(tmp_path, select):
    lines = accept(tmp_path, select, rows=ROWS[2:3])
    assert len(lines) == 1


def test_a_later_call_is_part_of_the_text(tmp_path):
    assert [line.call for line in accept(tmp_path, "*cpu/isolated/l.0.attn:out")] == [0]
    assert [line.call for line in accept(tmp_path, "*:out#1")] == [1]


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_is_needed(tmp_path, reason):
    with pytest.raises(UsageError, match=r"^a baseline needs a reason\n  try       --reason"):
        accept(tmp_path / "baselines", "*:out", reason=reason)
    assert not (tmp_path / "baselines").exists()


def test_a_glob_that_matches_nothing_is_refused_with_an_example(tmp_path):
    with pytest.raises(UsageError) as caught:
        accept(tmp_path, "l.0.attn:out")
    assert str(caught.value) == (
        "no row matches: l.0.attn:out\n"
        "  expected  a glob over case/cell/mode/site:port, such as toy.short/bf16/single/cpu/isolated/l.0.attn:out"
    )
    with pytest.raises(UsageError, match="such as none, for the run has no rows"):
        accept(tmp_path, "*", rows=[])


def test_rows_without_a_judged_number_are_refused_and_nothing_is_written(tmp_path):
    accept(tmp_path, "*cpu/isolated/l.0.attn:out")
    before = (tmp_path / "cpu.jsonl").read_bytes()
    with pytest.raises(UsageError) as caught:
        accept(tmp_path, "*")
    assert caught.value.what == "5 of 9 rows cannot be accepted"
    assert caught.value.expected == "pass or over_budget or regressed"
    assert [line.split()[0] for line in caught.value.got.splitlines()] == [
        "missing", "nonfinite", "mismatch", "error", "skipped",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["cpu.jsonl"]
    assert (tmp_path / "cpu.jsonl").read_bytes() == before


def test_a_long_list_of_refused_rows_is_cut(tmp_path):
    rows = [row(f"s{i}:out", Verdict.MISSING) for i in range(9)]
    with pytest.raises(UsageError) as caught:
        accept(tmp_path, "*", rows=rows)
    assert caught.value.got.splitlines()[-1].strip() == "and 4 more"


def test_no_baseline_is_an_empty_one(tmp_path):
    assert read_baseline(tmp_path) == read_baseline(tmp_path / "no.jsonl") == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("cpu", "gpu"), "^line of another platform: .*cpu.jsonl:1\n  expected  cpu\n  got       gpu"),
        (("over_budget", "nonfinite"), "^line accepts what cannot be: .*cpu.jsonl:1\n.*\n  got       nonfinite"),
        (("sums in another order", " "), "^line has no reason: .*cpu.jsonl:1"),
        (("{", ""), "^line cannot be read: .*cpu.jsonl:1"),
        (('"call":0,', ""), "^missing key: .*cpu.jsonl:1.call"),
    ],
)
def test_a_line_that_was_edited_wrongly_is_refused(tmp_path, change, text):
    accept(tmp_path, "*cpu/isolated/l.0.attn:out")
    file = tmp_path / "cpu.jsonl"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(UsageError, match=text):
        read_baseline(tmp_path)


def test_a_row_that_is_there_twice_is_refused(tmp_path):
    accept(tmp_path, "*cpu/isolated/l.0.attn:out")
    file = tmp_path / "cpu.jsonl"
    file.write_text(file.read_text() * 2)
    with pytest.raises(UsageError, match=r"^row is accepted twice: .*cpu.jsonl:2\n  got       toy.short/bf16"):
        read_baseline(tmp_path)
