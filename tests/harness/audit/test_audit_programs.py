"""What a compiled program exchanges and holds: real programs on eight devices, and the text of other platforms."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paritygate.audit.programs import summarise
from paritygate.core.codec import from_json
from paritygate.core.program import Collective, Program
from paritygate.judge.programs import compare

MESH = {"fsdp": 2, "tp": 4}
# As GPU and TPU print: starts and ends, several in one, a loop that does not say its turns.
ASYNCHRONOUS = """HloModule jit_step, is_scheduled=true, num_partitions=8

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

%scattering (in: f32[8,4]) -> f32[2,4] {
  %in = f32[8,4]{1,0} parameter(0)
  ROOT %scattered = f32[2,4]{1,0} reduce-scatter(%in), replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%add
}

%body (carried: (s32[], bf16[8,4])) -> (s32[], bf16[8,4]) {
  %carried = (s32[], bf16[8,4]{1,0}) parameter(0)
  %step = s32[] get-tuple-element(%carried), index=0
  %value = bf16[8,4]{1,0} get-tuple-element(%carried), index=1
  %sum.start = bf16[8,4]{1,0} all-reduce-start(%value), replica_groups=[2,4]<=[8], to_apply=%add, \
metadata={op_name="jit(step)/dot_general" source_file="/src/step.py" source_line=12}
  %sum.done = bf16[8,4]{1,0} all-reduce-done(%sum.start)
  ROOT %next = (s32[], bf16[8,4]{1,0}) tuple(%step, %sum.done)
}

%condition (carried.1: (s32[], bf16[8,4])) -> pred[] {
  %carried.1 = (s32[], bf16[8,4]{1,0}) parameter(0)
  ROOT %on = pred[] constant(true)
}

ENTRY %main (p0: bf16[4,4], p1: bf16[2]) -> bf16[8,4] {
  %p0 = bf16[4,4]{1,0} parameter(0), sharding={devices=[2,1,4]<=[8] last_tile_dim_replicate}, \
metadata={op_name="w[\\'layers\\'][3][\\'up\\'].value"}
  %p1 = bf16[2]{0} parameter(1), metadata={op_name="w[\\'norm\\']"}
  %start = ((bf16[4,4]{1,0:T(8,128)}, bf16[2]{0}), (bf16[8,4]{1,0}, bf16[4]{0}), u32[]{:S(2)}) \
all-gather-start(%p0, %p1), channel_id=1, replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}, \
metadata={op_name="jit(step)/mul" source_file="/src/step.py" source_line=7}
  %done = (bf16[8,4]{1,0}, bf16[4]{0}) all-gather-done(%start)
  %whole = bf16[8,4]{1,0} get-tuple-element(%done), index=0
  %shift = (bf16[8,4]{1,0}, bf16[8,4]{1,0}, u32[], u32[]) collective-permute-start(%whole), \
source_target_pairs={{0,1},{1,2},{2,3},{3,0},{4,5},{5,6},{6,7},{7,4}}
  %shifted = bf16[8,4]{1,0} collective-permute-done(%shift)
  %wide = f32[8,4]{1,0} convert(%shifted)
  %scatter.start = ((f32[8,4]{1,0}), f32[2,4]{1,0}) async-start(%wide), calls=%scattering
  %scatter.done = f32[2,4]{1,0} async-done(%scatter.start)
  %zero = s32[] constant(0)
  %first = (s32[], bf16[8,4]{1,0}) tuple(%zero, %shifted)
  %loop = (s32[], bf16[8,4]{1,0}) while(%first), condition=%condition, body=%body
  ROOT %out = bf16[8,4]{1,0} get-tuple-element(%loop), index=1
}
"""


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, str(Path(__file__).with_name("programs_run.py"))]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [next(iter(json.loads(line).items())) for line in done.stdout.splitlines()]
    return {name: from_json(Program, data) for name, data in lines}


def said(program: Program) -> set[tuple[object, ...]]:
    return {(each.kind, each.axes, each.dims, each.loop, each.turns, each.weight) for each in program.collectives}


@pytest.mark.parametrize(("name", "loop"), [("unrolled", ("once", 0)), ("scanned", ("loop", 3))])
def test_fsdp_gathers_weights_and_tp_sums_behind_a_row_parallel_product(programs, name, loop):
    assert said(programs[name]) == {
        ("all-gather", "fsdp", (64, 32), *loop, "weights['up']"),
        ("all-gather", "fsdp", (32, 64), *loop, "weights['down']"),
        ("all-reduce", "tp", (4, 64), *loop, ""),
    }
    assert all(each.where == "__main__:feed_forward" for each in programs[name].collectives)
    assert {each.bytes for each in programs[name].collectives} == {64 * 32 * 4, 4 * 64 * 4}
    assert programs[name].memory_bytes["arguments"] == 3 * 2 * 64 * 128 * 4 // 8 + 8 * 64 * 4 // 2
    assert programs[name].flops > 0
    assert not programs[name].warned


def test_a_sum_across_devices_in_16_bits_is_warned_of(programs):
    (warned,) = programs["low"].warned
    assert (warned.rule, warned.where) == ("device-sum", "__main__:feed_forward")
    assert warned.what == "all-reduce over tp sums 16 bits, which this platform widens"


def test_a_planted_gather_of_a_weight_is_named_with_its_line(programs):
    found = [each.what for each in compare(programs["gathering"], programs["unrolled"]) if each.weight == "fails"]
    lines = [what for what in found if what.startswith("one more all-gather of weights['up']")]
    assert len(lines) == 2
    assert any("[3, 64, 128] f32 over fsdp, 96 KiB, at programs_run.py:" in line for line in lines)
    assert all("(__main__:gathering)" in line for line in lines)
    assert any(what.startswith("temporaries memory of a device: 152 KiB, where 20 KiB was recorded") for what in found)


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("replicated experts", "weights['experts'] [8, 256, 256] f32 whole on every device, 2 MiB"),
        ("gathered experts", "all-gather of weights['experts'] [8, 256, 256] f32 over tp, 2 MiB"),
    ],
)
def test_a_planted_tensor_of_experts_on_every_device_is_named_with_its_line(programs, planted, said):
    found = [each.what for each in compare(programs[planted], programs["experts"])]
    (line,) = [what for what in found if what.startswith(f"one more {said}, at programs_run.py:")]
    assert line.endswith("(__main__:whole_experts)")


def test_a_tensor_that_is_split_along_another_axis_moves(programs):
    assert said(programs["permuted"]) == {("collective-permute", "fsdp+tp", (2, 64), "once", 0, "x")}


def test_asynchronous_collectives_are_counted_once_with_their_results():
    program = summarise(ASYNCHRONOUS, MESH)
    assert set(program.collectives) == {
        Collective("all-gather", "fsdp", "bf16", (8, 4), 64, "step.py:", "step.py:7", weight="w['layers'][*]['up']"),
        Collective("all-gather", "fsdp", "bf16", (4,), 8, "step.py:", "step.py:7", weight="w['norm']"),
        Collective("all-reduce", "tp", "bf16", (8, 4), 64, "step.py:", "step.py:12", "loop", turns=1),
        Collective("collective-permute", "tp", "bf16", (8, 4), 64, "step.py:", "step.py:7",
                   weight="w['layers'][*]['up']"),
        Collective("reduce-scatter", "tp", "f32", (2, 4), 32, "step.py:", "step.py:7"),
    }  # fmt: skip
    assert ("device-sum", "all-reduce over tp sums bf16") in {(each.rule, each.what) for each in program.warned}
