"""The dtype policy `f16@f16-accumulate`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="f16@f16-accumulate",
    compute="float16",
    island="float32",
    peer="float16",
    doc="float16, products summed in float16, eight terms at a time: NVIDIA A100.",
    matmul="f16-accumulate",
)
