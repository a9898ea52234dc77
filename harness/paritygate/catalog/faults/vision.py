"""Faults of the vision tower: patches, class token, positions, encoder, adapter."""

from paritygate.core.fault import Fault, FaultGroup, Patch

_TILES = "vision/tiny-vision.tiles"
_PATCHES = "jax_llama4.vision:Llama4UnfoldConvolution.__call__"
_MODEL = "jax_llama4.vision:Llama4VisionModel.__call__"
_TOKENS = "jax_llama4.vision:Llama4VisionModel._tokens"
_SHUFFLE = "jax_llama4.vision:pixel_shuffle"
_MLP2 = "jax_llama4.vision:Llama4VisionMLP2.__call__"
_ANGLES = "jax_llama4.rope:patch_angles"
_ATTENTION = "jax_llama4.vision_encoder:Llama4VisionAttention.__call__"
_LAYER = "jax_llama4.vision_encoder:Llama4VisionEncoderLayer.__call__"
_GELU = "jax_llama4.mlp:GELUActivation.__call__"
_EXACT = "jax.nn.gelu(x.astype(self.numerics.activation), approximate=False)"
_FEATURES = "self.vision_adapter(self.layernorm_post(features)[:, :-1])"
_ORDER = "transpose(0, 2, 4, 1, 3, 5)"
_AT_PATCHES = ("vision.patches:out",)
_AT_TOKENS = ("vision.tokens:out",)
_AT_ROPE = ("vision.rope:out",)
_AT_SHUFFLED = ("vision.adapter:inner.shuffled",)
_AT_LAYER = ("vision.layers.?:out",)
_AT_GELU = ("vision.layers.*.mlp:out", "vision.adapter.mlp:out")

GROUP = FaultGroup(
    name="vision",
    family="llama4-multimodal",
    faults=(
        Fault(
            "patches-column-by-column",
            "semantic",
            (Patch(_PATCHES, _ORDER, "transpose(0, 4, 2, 1, 3, 5)"),),
            _TILES,
            _AT_PATCHES,
            hypothesis="patches column by column",
        ),
        Fault(
            "patch-with-channels-innermost",
            "semantic",
            (Patch(_PATCHES, _ORDER, "transpose(0, 2, 4, 3, 5, 1)"),),
            _TILES,
            _AT_PATCHES,
            doc="the order of a convolution over channels-last pictures",
            hypothesis="patch with channels last",
        ),
        Fault(
            "pixels-bgr",
            "semantic",
            (Patch(_MODEL, "pixel_values.astype(", "pixel_values[:, ::-1].astype("),),
            _TILES,
            ("vision:out",),
            hypothesis="channels in reverse",
        ),
        Fault(
            "class-token-first",
            "semantic",
            (Patch(_TOKENS, "[patches, class_token]", "[class_token, patches]"),),
            _TILES,
            _AT_TOKENS,
            hypothesis="class token first",
        ),
        Fault(
            "positions-class-first",
            "semantic",
            (
                Patch(
                    _TOKENS,
                    "self.positional_embedding_vlm[...].astype(compute)",
                    "jnp.roll(self.positional_embedding_vlm[...], 1, axis=0).astype(compute)",
                ),
            ),
            _TILES,
            _AT_TOKENS,
            hypothesis="patch positions last first",
        ),
        Fault(
            "pre-norm-left-out",
            "semantic",
            (Patch(_MODEL, "self.layernorm_pre(tokens)", "tokens"),),
            _TILES,
            ("vision.pre_norm:out", "vision:out"),
            hypothesis="pre norm missing",
        ),
        Fault(
            "post-norm-left-out",
            "semantic",
            (Patch(_MODEL, _FEATURES, "self.vision_adapter(features[:, :-1])"),),
            _TILES,
            ("vision.post_norm:out", "vision:out"),
            hypothesis="post norm missing",
        ),
        Fault(
            "first-patch-for-class-token",
            "semantic",
            (Patch(_MODEL, _FEATURES, "self.vision_adapter(self.layernorm_post(features)[:, 1:])"),),
            _TILES,
            ("vision:out",),
            doc="the class token is the last",
            hypothesis="first patch dropped",
        ),
        Fault(
            "features-of-the-last-layer-but-one",
            "semantic",
            (
                Patch(
                    "jax_llama4.multimodal:Llama4ForConditionalGeneration.get_image_features",
                    "feature_layer=vision_feature_layer)",
                    "feature_layer=vision_feature_layer - 1)",
                ),
            ),
            _TILES,
            ("vision.post_norm:out", "vision:out"),
            doc="as in LLaVA; the tower is right and is asked for another layer",
            hypothesis="last vision layer but one",
        ),
        Fault(
            "patch-angles-x-and-y-exchanged",
            "semantic",
            (Patch(_ANGLES, "[x, y]", "[y, x]"),),
            _TILES,
            _AT_ROPE,
            hypothesis="vision rope axes swapped",
        ),
        Fault(
            "patch-angles-from-zero",
            "semantic",
            (Patch(_ANGLES, "(place + 1).astype(dtype)", "place.astype(dtype)"),),
            _TILES,
            _AT_ROPE,
            hypothesis="vision rope from 0",
        ),
        Fault(
            "patch-angles-alternate",
            "semantic",
            (
                Patch(
                    _ANGLES,
                    "np.concatenate([x, y], axis=1)",
                    "np.stack([x, y], axis=2).reshape(side * side, -1)",
                ),
            ),
            _TILES,
            _AT_ROPE,
            doc="x and y in turn, where x has the first half of the pairs",
            hypothesis="vision rope axes alternate",
        ),
        Fault(
            "patch-angles-class-first",
            "semantic",
            (Patch(_ANGLES, "((0, 1), (0, 0))", "((1, 0), (0, 0))"),),
            _TILES,
            _AT_ROPE,
            hypothesis="vision rope class first",
        ),
        Fault(
            "vision-attention-causal",
            "semantic",
            (
                Patch(
                    _ATTENTION,
                    "weights = self.tap_probs(",
                    "order = (query[:, :, 0, 0] * 0 + 1).cumsum(1)[0]\n"
                    "    causal = order[None, :] <= order[:, None]\n"
                    "    weights = self.tap_probs(",
                ),
                Patch(
                    _ATTENTION,
                    "attention_weights(query, key, self.scaling, self.numerics)",
                    "attention_weights(query, key, self.scaling, self.numerics, causal[None])",
                ),
            ),
            _TILES,
            ("vision.layers.*.attn:inner.probs",),
            hypothesis="vision attention causal",
        ),
        Fault(
            "vision-residual-left-out",
            "semantic",
            (Patch(_LAYER, "hidden_states + attended.attention_output", "attended.attention_output"),),
            _TILES,
            _AT_LAYER,
            hypothesis="vision attention residual missing",
        ),
        Fault(
            "gelu-by-tanh",
            "semantic",
            (Patch(_GELU, "approximate=False", "approximate=True"),),
            _TILES,
            _AT_GELU,
            doc="JAX's default",
            hypothesis="gelu by tanh",
        ),
        Fault(
            "shuffle-column-by-column",
            "semantic",
            (Patch(_SHUFFLE, "blocks.transpose(0, 1, 3, 2, 4, 5)", "blocks.transpose(0, 1, 3, 4, 2, 5)"),),
            _TILES,
            _AT_SHUFFLED,
            hypothesis="block column by column",
        ),
        Fault(
            "shuffle-channels-outermost",
            "semantic",
            (Patch(_SHUFFLE, "blocks.transpose(0, 1, 3, 2, 4, 5)", "blocks.transpose(0, 1, 3, 5, 2, 4)"),),
            _TILES,
            _AT_SHUFFLED,
            doc="the pixel-unshuffle of convolutions",
            hypothesis="block with channels first",
        ),
        Fault(
            "adapter-activates-once",
            "semantic",
            (Patch(_MLP2, "self.activation_fn(self.fc2(hidden))", "self.fc2(hidden)"),),
            _TILES,
            ("vision.adapter.mlp:out",),
            hypothesis="adapter's last activation missing",
        ),
        Fault(
            "gelu-by-erf",
            "harmless",
            (
                Patch(
                    _GELU,
                    f"return {_EXACT}.astype(self.numerics.compute)",
                    "x = x.astype(self.numerics.activation)\n"
                    "    return (0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))).astype(self.numerics.compute)",
                ),
            ),
            _TILES,
        ),
        Fault(
            "shuffle-in-two-steps",
            "harmless",
            (
                Patch(
                    _SHUFFLE,
                    "return _by_tile(blocks.transpose(0, 1, 3, 2, 4, 5), (side // block) ** 2,"
                    " block * block * channels)",
                    "few = side // block\n"
                    "    wide = input_tensor.reshape(tiles, side, few, block * channels).swapaxes(1, 2)\n"
                    "    wide = wide.reshape(tiles, few, few, block * block * channels).swapaxes(1, 2)\n"
                    "    return wide.reshape(tiles, few * few, -1)",
                ),
            ),
            _TILES,
            doc="as the reference writes it",
        ),
    ),
    doc="vision tower and adapter",
)
