"""The dtype policy `mixed`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="mixed",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    roles={"param": "float32", "residual": "float32"},
    doc="float32 parameters and residual stream, bfloat16 compute, with the float32 islands that the reference has.",
    floor="bf16",
)
