"""The dtype policy `bf16@e4m3-tensor`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="bf16@e4m3-tensor",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    doc="bfloat16, all operands of products in float8 with a scale each; gradients in e5m2.",
    matmul="e4m3-tensor",
)
