"""The dtype policy `f32@bf16x6`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f32@bf16x6",
    compute="float32",
    island="float32",
    peer="float32",
    doc="float32, products of operands in three bfloat16 parts: TPU, precision HIGHEST.",
    matmul="bf16x6",
)
