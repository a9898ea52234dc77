"""The dtype policy `f32@bf16x3`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f32@bf16x3",
    compute="float32",
    island="float32",
    peer="float32",
    doc="float32, products of operands in two bfloat16 parts: TPU, precision HIGH.",
    matmul="bf16x3",
)
