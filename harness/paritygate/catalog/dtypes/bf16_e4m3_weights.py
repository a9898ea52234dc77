"""The dtype policy `bf16@e4m3-weights`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="bf16@e4m3-weights",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    doc="bfloat16, weights in float8 with a scale for each output channel.",
    matmul="e4m3-weights",
)
