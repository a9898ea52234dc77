"""Faults of the way from HF's tensors to parameters: names, layouts, order."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_SCOUT, _MAVERICK, _TILES = "tiny/tiny-scout.long", "tiny/tiny-maverick.long", "vision/tiny-vision.tiles"
_NAME = "jax_llama4.checkpoint:Rule.hf_name"
_LOAD = "jax_llama4.loading:load_tensors"
_FOUND = "return re.sub(_PLACEHOLDER, lambda _: next(words), self.hf)"
_NAMED = "name = re.sub(_PLACEHOLDER, lambda _: next(words), self.hf)"
_TAKEN = "tensor, parameter = tensors[name], wanted[name]"
_BLOCK = "jax_llama4.loading:_block"


def _exchanged(one: str, other: str, within: str = "") -> Patch:
    """Each tensor of the first name fills the parameter of the second, and the other way."""
    return Patch(
        _NAME,
        _FOUND,
        f"""{_NAMED}
    if not name.startswith("{within}"):
        return name
    return re.sub(r"\\b({one}|{other})\\b", lambda found: "{other}" if found[0] == "{one}" else "{one}", name)""",
    )


def _renumbered(layers: str, number: str) -> Patch:
    """Layer n of `layers` is filled with the tensors of another one."""
    return Patch(
        _NAME, _FOUND, f"""{_NAMED}\n    return re.sub(r"(?<={layers})\\d+", lambda found: str({number}), name)"""
    )


def _changed(tensors: str, value: str) -> Patch:
    """The tensors whose name ends so are taken as `value`."""
    return Patch(_LOAD, _TAKEN, f"{_TAKEN}\n        if name.endswith({tensors!r}):\n            tensor = {value}")


GROUP = FaultGroup(
    name="mapping",
    family="llama4",
    faults=(
        Fault(
            "mapping-gate-and-up-exchanged",
            "mapping",
            (_exchanged("gate_proj", "up_proj"),),
            _MAVERICK,
            ("layers.*.mlp:out", "layers.*.moe.shared:out"),
            hypothesis="gate and up swapped",
        ),
        Fault(
            "mapping-keys-and-values-exchanged",
            "mapping",
            (_exchanged("k_proj", "v_proj"),),
            _SCOUT,
            ("layers.*.attn:inner.k_rope",),
            hypothesis="keys and values exchanged",
        ),
        Fault(
            "mapping-queries-and-keys-exchanged",
            "mapping",
            (_exchanged("q_proj", "k_proj", "vision_model."),),
            _TILES,
            ("vision.layers.*.attn:inner.q_rope",),
            doc="in the vision tower all heads are of one kind, and shapes do not tell",
            hypothesis="vision queries and keys exchanged",
        ),
        Fault(
            "mapping-norms-exchanged",
            "mapping",
            (_exchanged("input_layernorm", "post_attention_layernorm"),),
            _SCOUT,
            ("layers.*.input_norm:out",),
            hypothesis="norms exchanged",
        ),
        Fault(
            "mapping-vision-norms-exchanged",
            "mapping",
            (_exchanged("layernorm_pre", "layernorm_post"),),
            _TILES,
            ("vision.pre_norm:out",),
            hypothesis="pre and post norm exchanged",
        ),
        Fault(
            "mapping-layers-shifted",
            "mapping",
            (_renumbered("language_model.model.layers.", "(int(found[0]) + 1) % 4"),),
            _SCOUT,
            ("layers.0.input_norm:out",),
            hypothesis="layers one layer early",
        ),
        Fault(
            "mapping-transpose-by-shape",
            "mapping",
            (
                Patch(
                    _BLOCK,
                    "part = tensor[index[::-1]].T if transposed else tensor[index]",
                    "transposed = transposed and tensor.shape[0] != tensor.shape[1]\n"
                    "    part = tensor[index[::-1]].T if transposed else tensor[index]",
                ),
            ),
            _TILES,
            ("vision.adapter.mlp:out",),
            doc="transposed where the shape asks for it, which a square matrix does not",
            hypothesis="adapter's square weight transposed",
        ),
        Fault(
            "mapping-expert-halves-exchanged",
            "mapping",
            (_changed("experts.gate_up_proj", "np.concatenate(np.split(tensor, 2, axis=-1)[::-1], axis=-1)"),),
            _SCOUT,
            ("layers.*.moe.experts:out",),
            doc="up before gate",
            hypothesis="expert gate and up swapped",
        ),
        Fault(
            "mapping-experts-in-another-order",
            "mapping",
            (_changed("experts.down_proj", "tensor[::-1]"),),
            _SCOUT,
            ("layers.*.moe.experts:out",),
            doc="of one of their two tensors",
            hypothesis="expert down in reverse",
        ),
        Fault(
            "mapping-head-tied",
            "mapping",
            (_changed("lm_head.weight", 'tensors["language_model.model.embed_tokens.weight"]'),),
            _SCOUT,
            ("lm_head:out",),
            doc="the embedding in place of a head of the same shape",
            hypothesis="head tied",
        ),
        Fault(
            "mapping-queries-permuted-for-halves",
            "mapping",
            (
                _changed(
                    "layers.0.self_attn.q_proj.weight",
                    "tensor.reshape(-1, config.head_dim // 2, 2, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)",
                ),
            ),
            _SCOUT,
            ("layers.0.attn:inner.q_rope",),
            doc="as the conversion of Llama 2 does",
        ),
        Fault(
            "mapping-positions-class-first",
            "mapping",
            (_changed("positional_embedding_vlm", "np.roll(tensor, 1, axis=0)"),),
            _TILES,
            ("vision.tokens:out",),
            hypothesis="patch positions last first",
        ),
        Fault(
            "mapping-through-8-bits",
            "mapping",
            (
                Patch(
                    _BLOCK,
                    "block[...] = part",
                    'block[...] = part.astype("float8_e4m3fn").astype(dtype)',
                ),
            ),
            _SCOUT,
            ("embed:out",),
            doc="tensors that are not transposed, by way of a quantized checkpoint; the embedding is the first of them",
        ),
        Fault(
            "mapping-through-bf16",
            "harmless",
            (
                Patch(
                    _BLOCK,
                    "part = tensor[index[::-1]].T if transposed else tensor[index]",
                    'part = (tensor[index[::-1]].T if transposed else tensor[index]).astype("bfloat16")',
                ),
            ),
            _SCOUT,
            equivalent="every weight of the catalog is exact in bf16, so that a dtype costs arithmetic only",
        ),
    ),
    doc="checkpoint to parameters",
)
