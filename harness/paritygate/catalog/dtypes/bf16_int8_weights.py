"""The dtype policy `bf16@int8-weights`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="bf16@int8-weights",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    doc="bfloat16, weights in int8 with a scale for each output channel.",
    matmul="int8-weights",
)
