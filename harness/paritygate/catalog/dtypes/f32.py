"""The dtype policy `f32`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f32",
    compute="float32",
    island="float32",
    peer="float32",
    doc="float32 throughout.",
)
