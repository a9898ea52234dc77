"""The dtype policy `f32@tf32`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f32@tf32",
    compute="float32",
    island="float32",
    peer="float32",
    doc="float32, products of operands of 10 mantissa bits: NVIDIA GPU, precision DEFAULT.",
    matmul="tf32",
)
