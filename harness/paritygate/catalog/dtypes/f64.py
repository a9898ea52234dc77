"""The dtype policy `f64`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f64",
    compute="float64",
    island="float64",
    peer="",
    x64=True,
    doc="Every role in true float64: tells another computation from rounding.",
)
