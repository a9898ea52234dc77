"""The dtype policy `bf16-wide`."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy(
    name="bf16-wide",
    compute="bfloat16",
    island="float32",
    peer="bfloat16",
    roles={"scores": "float32", "router_logits": "float32", "logits": "float32"},
    doc="bfloat16, with float32 attention scores, router and vocabulary logits beside the islands of the reference.",
    floor="bf16",
)
