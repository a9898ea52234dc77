"""The dtype policy `bf16@e4m3-channel`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="bf16@e4m3-channel",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    doc="bfloat16, all operands of products in float8 with a scale for each row or channel; gradients in e5m2.",
    matmul="e4m3-channel",
)
