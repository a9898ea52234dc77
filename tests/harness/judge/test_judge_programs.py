"""A compiled program against its record: what is more, what is less, what is only told, and the gate."""

from dataclasses import replace

import pytest

from paritygate.core.errors import UsageError
from paritygate.core.program import Collective, Program, Replicated, Warned
from paritygate.judge.programs import changes, compare, without_lines
from paritygate.store.programs import read_programs, write_programs

CELL = "bf16/fsdp2tp4/cpu"
GATHER = Collective(
    "all-gather", "tp", "bf16", (5120, 16384), 160 * 2**20, "m.attention:Attention.__call__", "attention.py:120",
    "loop", 48,
)  # fmt: skip
SUM = Collective("all-reduce", "tp", "bf16", (2, 5120), 20480, "m.linear:Linear.__call__", "linear.py:44", count=3)
EXPERTS = Replicated("weights['experts']", "bf16", (16, 64, 64), 131072, "m.moe:Moe.__call__", "moe.py:31")
RECORDED = Program("case forward 1", CELL, (SUM,), (), {"temporaries": 1000}, 100.0, {"jaxlib": "0.10.2"})


def texts(found: Program, recorded: Program = RECORDED) -> list[tuple[str, str]]:
    return [(each.weight, each.what) for each in compare(found, recorded)]


def test_a_program_as_it_was_recorded_has_no_change():
    assert texts(RECORDED) == []
    moved = replace(RECORDED, collectives=(replace(SUM, count=2), replace(SUM, line="linear.py:50", count=1)))
    assert texts(moved, without_lines(RECORDED)) == []


def test_one_more_collective_is_said_with_its_bytes_and_its_line():
    assert texts(replace(RECORDED, collectives=(GATHER, SUM))) == [
        (
            "fails",
            "one more all-gather of [5120, 16384] bf16 over tp, 160 MiB per turn of a loop of 48, "
            "at attention.py:120 (m.attention:Attention.__call__)",
        )
    ]


def test_one_less_is_a_change_too():
    assert texts(replace(RECORDED, collectives=(replace(SUM, count=1),))) == [
        ("fails", "2 less all-reduce of [2, 5120] bf16 over tp, 20 KiB, in m.linear:Linear.__call__")
    ]


def test_a_tensor_that_every_device_holds_is_named():
    ((weight, what),) = texts(replace(RECORDED, replicated=(EXPERTS,)))
    assert weight == "fails"
    assert what == (
        "one more weights['experts'] [16, 64, 64] bf16 whole on every device, 128 KiB, "
        "at moe.py:31 (m.moe:Moe.__call__)"
    )


@pytest.mark.parametrize(("size", "weight"), [(1051, "fails"), (1049, "told"), (999, "told")])
def test_memory_that_grows_by_more_than_a_twentieth_fails(size, weight):
    ((found, what),) = texts(replace(RECORDED, memory_bytes={"temporaries": size}))
    assert found == weight
    assert what.startswith("temporaries memory of a device: ")


def test_other_versions_excuse_nothing_and_are_said():
    found = replace(RECORDED, collectives=(), versions={"jaxlib": "0.11.0"})
    ((weight, what),) = texts(found)
    assert weight == "fails"
    assert what.endswith(" (recorded with jaxlib 0.10.2, where 0.11.0 compiles today)")


def test_a_program_more_or_less_fails_where_its_cell_has_a_record():
    other = replace(RECORDED, name="case forward 2")
    assert [(each.name, each.weight) for each in changes([other], [RECORDED]).changes] == [
        ("case forward 2", "fails"),
        ("case forward 1", "fails"),
    ]
    assert [each.weight for each in changes([other], []).changes] == ["told"]
    assert changes([RECORDED], [RECORDED]).changes == ()


def test_what_is_doubtful_is_told_whatever_was_recorded():
    found = replace(RECORDED, warned=(Warned("device-sum", "m:f", "m.py:1", "all-reduce over tp sums bf16"),))
    (change,) = changes([found], [RECORDED]).changes
    assert (change.weight, change.what) == ("told", "device-sum: all-reduce over tp sums bf16, at m.py:1 (m:f)")


def test_what_is_recorded_is_read_again_without_lines(tmp_path):
    program = replace(RECORDED, collectives=(SUM, GATHER), replicated=(EXPERTS,))
    (file,) = write_programs(tmp_path, "mesh", [without_lines(program)])
    assert file.name == "bf16.fsdp2tp4.cpu.jsonl"
    assert "attention.py" not in file.read_text()
    (again,) = read_programs(tmp_path, "mesh")
    assert again == without_lines(program)
    assert compare(program, again) == []


def test_a_record_keeps_the_programs_of_other_cases_and_passes(tmp_path):
    others = [replace(RECORDED, name=name) for name in ("case backward 1", "other forward 1")]
    write_programs(tmp_path, "mesh", [RECORDED, replace(RECORDED, name="case forward 2"), *others])
    write_programs(tmp_path, "mesh", [replace(RECORDED, flops=7.0)])
    assert [(each.name, each.flops) for each in read_programs(tmp_path, "mesh")] == [
        ("case backward 1", RECORDED.flops),
        ("case forward 1", 7.0),
        ("other forward 1", RECORDED.flops),
    ]


def test_a_line_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "cell.jsonl").write_text('{"collective":{}}\n')
    with pytest.raises(UsageError, match="line belongs to no program"):
        read_programs(tmp_path, "mesh")
