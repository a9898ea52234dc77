"""The dtype policy `bf16`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="bf16",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    doc="bfloat16, with the float32 islands that the reference has.",
)
