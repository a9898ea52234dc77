"""The dtype policy `f32@bf16x1`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f32@bf16x1",
    compute="float32",
    island="float32",
    peer="float32",
    doc="float32, products of operands rounded to bfloat16: TPU, precision DEFAULT.",
    matmul="bf16x1",
)
