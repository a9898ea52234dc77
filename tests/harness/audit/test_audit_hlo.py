"""The text of a compiled program becomes instructions: their shapes, what they are given, and their lines."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from paritygate.audit.hlo import Instruction, Module, Shape, read
from paritygate.core.errors import InfrastructureError

X = jnp.ones((4, 8), jnp.float32)

# As GPU and TPU print: layouts with tiles, tuples, lines without tables, collectives.
SHARDED = """HloModule jit_step, is_scheduled=true, num_partitions=4

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

ENTRY %main.1_spmd (p0: bf16[16,128]) -> (bf16[16,128], f32[]) {
  %p0 = bf16[16,128]{1,0:T(8,128)(2,1)S(1)} parameter(0), sharding={devices=[4,1]<=[4]}
  %start = (bf16[16,128]{1,0:T(8,128)}, /*index=1*/f32[]) all-reduce-start(%p0), channel_id=1, \
replica_groups=[1,4]<=[4], use_global_device_ids=true, to_apply=%add, \
metadata={op_name="jit(step)/psum" source_file="/src/step.py" source_line=12}
  %gathered = bf16[64,128]{1,0} all-gather(bf16[16,128]{1,0} %p0), replica_groups={{0,1},{2,3}}, dimensions={0}, \
control-predecessors={%start}, backend_config={"text":"a, \\"b\\" {("}
  ROOT %done = (bf16[16,128]{1,0}, f32[]) all-reduce-done(%start)
}
"""


def compiled(function, *arguments) -> Module:
    return read(jax.jit(function).lower(*arguments).compile().as_text())


def one(module: Module, opcode: str) -> Instruction:
    (found,) = (each for each in module.instructions if each.opcode == opcode)
    return found


def test_an_instruction_has_shapes_operands_attributes_and_its_line():
    def product(x):
        return x @ x.T

    dot = one(compiled(product, X), "dot")
    assert dot.shapes == (Shape("f32", (4, 4)),)
    assert len(dot.operands) == 2
    assert dot.attributes["lhs_contracting_dims"] == "{1}"
    assert (dot.line.file, dot.line.number) == (__file__, inspect.getsourcelines(product)[1] + 1)
    assert dot.line.function.endswith("<locals>.product")
    assert dot.primitive == "dot_general"


def test_operands_and_computations_are_those_of_the_module():
    module = compiled(lambda x: jax.nn.softmax(jnp.sin(x)) @ x.T, X)
    for name, body in module.computations.items():
        assert {each.computation for each in body} == {name}
        assert sum(each.is_root for each in body) == 1
        for each in body:
            assert {*each.operands} <= {other.name for other in body}
            assert {*each.called} <= module.computations.keys()
    assert any(each.called for each in module.computations[module.entry])


def test_what_a_loop_runs_each_turn_is_known():
    def turned(x):
        return jax.lax.scan(lambda carry, _: (carry @ carry, None), x @ x.T, None, length=3)[0]

    module = compiled(turned, X)
    inside = {each.computation in module.looped for each in module.instructions if each.opcode == "dot"}
    assert inside == {True, False}
    assert module.entry not in module.looped
    bodies = {each.attributes["body"].removeprefix("%") for each in module.instructions if each.opcode == "while"}
    assert bodies and bodies <= module.looped


def test_collectives_have_their_groups():
    module = read(SHARDED)
    start, gathered = one(module, "all-reduce-start"), one(module, "all-gather")
    assert start.shapes == (Shape("bf16", (16, 128)), Shape("f32", ()))
    assert (start.operands, start.called) == (("p0",), ("add",))
    assert (start.attributes["channel_id"], start.attributes["replica_groups"]) == ("1", "[1,4]<=[4]")
    assert (start.line.file, start.line.number, start.primitive) == ("/src/step.py", 12, "psum")
    assert gathered.operands == ("p0",)
    assert gathered.attributes["replica_groups"] == "{{0,1},{2,3}}"
    assert gathered.called == ()  # what comes before it is not called by it
    assert module.entry == "main.1_spmd"
    assert one(module, "all-reduce-done").is_root


def test_a_constant_is_what_it_was_given():
    constant = one(compiled(lambda x: x * 2.5, X), "constant")
    assert (constant.given, constant.operands, constant.shapes) == ("2.5", (), (Shape("f32", ()),))


@pytest.mark.parametrize("text", ["", "stablehlo.module {\n}", SHARDED.replace("ENTRY ", "")])
def test_what_is_no_program_is_refused(text):
    with pytest.raises(InfrastructureError, match="a compiled program cannot be read"):
        read(text)


def test_an_instruction_that_cannot_be_read_is_named():
    with pytest.raises(InfrastructureError, match=r"done in main\.1_spmd"):
        read(SHARDED.replace("all-reduce-done(%start)", ""))
