"""The dtype policy `f16`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f16",
    compute="float16",
    island="float32",
    peer="float16",
    doc="float16, with the float32 islands that the reference has.",
)
