"""Accepting drifts, and reading back what was accepted."""

import pytest
from judge_rows import BF16, F64, row

from paritygate.core.codec import canonical
from paritygate.core.drift import Verdict
from paritygate.core.errors import UsageError
from paritygate.store.baseline import approve, audit_of, propose, read_audit, read_baseline, unvouched

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


@pytest.fixture
def folder(tmp_path):
    """The folder of baselines; the audit lies beside it."""
    return tmp_path / "baselines"


def accept(path, select, reason="sums in another order", rows=ROWS, run="run-7"):
    proposals = propose(rows, select, reason, run, path, "2026-01-02")
    approve(proposals, path, "Ada <ada@example.org>", select, "2026-01-02T03:04:05Z")
    return [each.after for each in proposals]


def test_what_is_accepted_can_be_read_back(folder):
    lines = accept(folder / "baselines", "toy.short/bf16/single/cpu/*/l.*")
    assert [line.key[-3:] for line in lines] == [("l.0.attn", "out", 0), ("l.0.attn", "out", 1), ("l.1.attn", "out", 0)]
    assert read_baseline(folder / "baselines") == {line.key: line for line in lines}
    line = lines[0]
    assert (line.metrics, line.verdict, line.reason, line.run, line.date) == (
        {"rel_l2": 4.0}, "over_budget", "sums in another order", "run-7", "2026-01-02",
    )  # fmt: skip


def test_there_is_a_sorted_file_for_each_platform(folder):
    accept(folder, "*/l.0.attn:out*")
    assert sorted(path.name for path in folder.iterdir()) == ["cpu.jsonl", "gpu.jsonl"]
    assert len(read_baseline(folder / "cpu.jsonl")) == 2
    accept(folder, "*/bf16/single/cpu/chained/*")
    text = (folder / "cpu.jsonl").read_text()
    lines = read_baseline(folder / "cpu.jsonl")
    assert text == "".join(canonical(lines[key]) + "\n" for key in sorted(lines))
    assert len(lines) == 3


def test_a_new_line_replaces_the_old_one_of_the_same_row(folder):
    accept(folder, "*cpu*l.0.attn:out*")
    again = [row("l.0.attn:out", Verdict.OVER_BUDGET, cell=BF16, order=1, share=1.5)]
    accept(folder, "*", reason="better now", rows=again, run="run-8")
    lines = read_baseline(folder)
    assert {key[5]: (line.run, line.metrics["rel_l2"]) for key, line in lines.items()} == {
        0: ("run-8", 3.0),
        1: ("run-7", 6.0),
    }


@pytest.mark.parametrize("select", ["toy.short/bf16/*/l.1.*", "*/chained/*", "*:out", "*"])
def test_the_glob_is_over_the_whole_text_and_a_star_crosses_slashes(folder, select):
    lines = accept(folder, select, rows=ROWS[2:3])
    assert len(lines) == 1


def test_a_later_call_is_part_of_the_text(folder):
    assert [line.call for line in accept(folder, "*cpu/isolated/l.0.attn:out")] == [0]
    assert [line.call for line in accept(folder, "*:out#1")] == [1]


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_is_needed(folder, reason):
    with pytest.raises(UsageError, match=r"^a baseline needs a reason\n  try       --reason"):
        accept(folder / "baselines", "*:out", reason=reason)
    assert not (folder / "baselines").exists()


def test_a_glob_that_matches_nothing_is_refused_with_an_example(folder):
    with pytest.raises(UsageError) as caught:
        accept(folder, "l.0.attn:out")
    assert str(caught.value) == (
        "no row matches: l.0.attn:out\n"
        "  expected  a glob over case/cell/mode/site:port, such as toy.short/bf16/single/cpu/isolated/l.0.attn:out"
    )
    with pytest.raises(UsageError, match="such as none, for the run has no rows"):
        accept(folder, "*", rows=[])


def test_rows_without_a_judged_number_are_refused_and_nothing_is_written(folder):
    accept(folder, "*cpu/isolated/l.0.attn:out")
    before = (folder / "cpu.jsonl").read_bytes()
    with pytest.raises(UsageError) as caught:
        accept(folder, "*")
    assert caught.value.what == "5 of 9 rows cannot be accepted"
    assert caught.value.expected == "pass or over_budget or regressed"
    assert [line.split()[0] for line in caught.value.got.splitlines()] == [
        "missing", "nonfinite", "mismatch", "error", "skipped",
    ]  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["cpu.jsonl"]
    assert (folder / "cpu.jsonl").read_bytes() == before


def test_a_long_list_of_refused_rows_is_cut(folder):
    rows = [row(f"s{i}:out", Verdict.MISSING) for i in range(9)]
    with pytest.raises(UsageError) as caught:
        accept(folder, "*", rows=rows)
    assert caught.value.got.splitlines()[-1].strip() == "and 4 more"


def test_no_baseline_is_an_empty_one(folder):
    assert read_baseline(folder) == read_baseline(folder / "no.jsonl") == {}


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
def test_a_line_that_was_edited_wrongly_is_refused(folder, change, text):
    accept(folder, "*cpu/isolated/l.0.attn:out")
    file = folder / "cpu.jsonl"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(UsageError, match=text):
        read_baseline(folder)


def test_a_row_that_is_there_twice_is_refused(folder):
    accept(folder, "*cpu/isolated/l.0.attn:out")
    file = folder / "cpu.jsonl"
    file.write_text(file.read_text() * 2)
    with pytest.raises(UsageError, match=r"^row is accepted twice: .*cpu.jsonl:2\n  got       toy.short/bf16"):
        read_baseline(folder)


def test_a_proposal_says_what_was_there_and_writes_nothing(folder):
    accept(folder, "*cpu/isolated/l.0.attn:out")
    before = (folder / "cpu.jsonl").read_bytes(), audit_of(folder).read_bytes()
    again = [row("l.0.attn:out", Verdict.OVER_BUDGET, cell=BF16, share=1.5, digest="feed"), ROWS[1]]
    first, second = propose(again, "*", "better", "run-8", folder, "2026-01-03")
    assert (first.before.metrics, first.after.metrics) == ({"rel_l2": 4.0}, {"rel_l2": 3.0})
    assert (first.before.shares, first.after.shares, first.after.digest) == ({"rel_l2": 2.0}, {"rel_l2": 1.5}, "feed")
    assert second.before is None
    assert ((folder / "cpu.jsonl").read_bytes(), audit_of(folder).read_bytes()) == before


def test_each_act_of_accepting_is_kept_with_who_why_and_what(folder):
    accept(folder, "*cpu/isolated/l.0.attn:out*")
    accept(folder, "*gpu*", reason="another kernel")
    one, two = read_audit(audit_of(folder))
    assert (one.who, one.when, one.run, one.select, one.reason, one.rows) == (
        "Ada <ada@example.org>", "2026-01-02T03:04:05Z", "run-7", "*cpu/isolated/l.0.attn:out*",
        "sums in another order", 2,
    )  # fmt: skip
    assert (one.before, len(one.lines), two.reason, two.rows) == ("", 2, "another kernel", 1)
    assert one.after == two.before != two.after


def test_a_cut_line_of_the_audit_is_refused_and_never_hides_the_next(folder):
    accept(folder, "*cpu/isolated/l.0.attn:out")
    audit = audit_of(folder)
    audit.write_bytes(audit.read_bytes()[:-20])
    with pytest.raises(UsageError, match=r"^line cannot be read: .*audit.jsonl:1"):
        read_audit(audit)
    accept(folder, "*gpu*")
    assert len(audit.read_text().splitlines()) == 2


def test_what_another_hand_wrote_into_a_baseline_is_found(folder):
    accept(folder, "*cpu/isolated/l.0.attn:out*")
    assert unvouched(folder) == []
    file = folder / "cpu.jsonl"
    file.write_text(file.read_text().replace('"rel_l2":4.0', '"rel_l2":40.0'))
    assert unvouched(folder) == ["toy.short/bf16/single/cpu/isolated/l.0.attn:out"]
    accept(folder, "*cpu/isolated/l.0.attn:out*")
    assert unvouched(folder) == []


def test_baselines_of_two_branches_can_be_merged(folder, tmp_path):
    other = tmp_path / "other" / "baselines"
    accept(folder, "*cpu/isolated/l.0.attn:out")
    accept(other, "*cpu/chained/*")
    merged = tmp_path / "merged" / "baselines"
    merged.mkdir(parents=True)
    (merged / "cpu.jsonl").write_text((folder / "cpu.jsonl").read_text() + (other / "cpu.jsonl").read_text())
    audit_of(merged).write_text(audit_of(folder).read_text() + audit_of(other).read_text())
    assert len(read_baseline(merged)) == 2
    assert unvouched(merged) == []
