"""Precision of Llama 4: what the lint finds in a right one and why HF has it too, and what a policy is made of."""

from paritygate.core.lint import Expected
from paritygate.core.sensitivity import Aspect

_OURS = "jax_llama4."
_NORM = _OURS + "norms:Llama4TextRMSNorm.__call__"
_WEIGHTS = _OURS + "attention:attention_weights"
_VALUES = _OURS + "attention:weighted_values"
_LINEAR = _OURS + "linear:Linear.__call__"

_ROUNDED = "HF: autograd rounds the gradient of what was widened to the dtype it had, and what made it widens again."
_KEPT = "XLA on CPU goes on with the float32 that it computed; HF rounds it first, one rounding more."
_STREAM = "The policy keeps the residual stream and its gradient in float32; the gradient of what is added is rounded."
_WIDE_PARAMETERS = "The policy keeps parameters in float32: the gradient of what products take is widened to that."
_PARTS = "Not as HF: torch sums the gradient of a broadcast in float32, JAX in the model's dtype. Within budget."

EXPECTED = (
    Expected("island", _OURS + "norms:*", "HF: norms are computed in float32 inside, layer norms by torch's kernel."),
    Expected("island", _OURS + "rope:*", "HF: frequencies, angles and the rotation are float32, as are patch angles."),
    Expected("island", _OURS + "attention:attention_temperature", "HF: the temperature is computed in float32."),
    Expected("island", _OURS + "attention:*_scale_query", "HF: a float32 temperature makes the product float32."),
    Expected("island", _OURS + "attention:attention_weights", "HF: softmax is asked for in float32."),
    Expected("island", _OURS + "*vision*:*", "HF: torch's kernels for softmax and GELU compute in float32."),
    Expected("island", _OURS + "mlp:*", "HF: torch's kernels for SiLU and GELU compute in float32."),
    Expected("island", _OURS + "moe:Llama4Router.__call__", "HF: the sigmoid of the router is float32."),
    Expected("island", _OURS + "moe:*", "HF: torch sums over the experts in float32 and rounds once."),
    Expected("island", _OURS + "linear:*", "HF: torch adds a bias to the float32 sum and rounds once."),
    Expected("island", _OURS + "losses:*", "HF: logits are widened before the loss."),
    Expected(
        "round-trip",
        f"{_NORM} -> {_NORM}",
        "HF: the normed value is rounded before it is multiplied with the weight.",
    ),
    Expected("round-trip", f"{_OURS}* -> {_OURS}losses:*", "HF: logits are widened before the loss."),
    Expected("round-trip", f"{_LINEAR} -> {_OURS}rope:apply_rotary_emb", "HF: queries and keys are widened to rotate."),
    Expected(
        "round-trip", f"{_OURS}rope:apply_rotary_emb -> {_OURS}norms:*", "HF: the rotation gives the model's dtype."
    ),
    Expected("round-trip", f"{_LINEAR} -> {_OURS}norms:*", "HF: a norm widens what a linear layer rounded."),
    Expected(
        "round-trip", f"{_OURS}norms:* -> {_OURS}norms:*", "HF: a norm gives the model's dtype, and the next widens."
    ),
    Expected("round-trip", f"{_LINEAR} -> {_OURS}mlp:*Activation.__call__", "HF: torch's kernel widens and rounds."),
    Expected(
        "round-trip", f"{_OURS}moe:bmm -> {_OURS}mlp:*Activation.__call__", "HF: torch's kernel widens and rounds."
    ),
    Expected(
        "round-trip", f"{_OURS}moe:bmm -> {_OURS}moe:Llama4TextMoe.*", "HF: torch sums over the experts in float32."
    ),
    Expected(
        "round-trip",
        f"{_WEIGHTS} -> {_WEIGHTS}",
        "HF: scaled scores have the model's dtype, and softmax widens them.",
    ),
    Expected(
        "round-trip",
        f"{_OURS}moe:Llama4Router.__call__ -> {_OURS}moe:Llama4Router.__call__",
        "HF: logits have the model's dtype, and the sigmoid of the router widens them.",
    ),
    Expected("round-trip", f"{_LINEAR} -> {_OURS}attention:*_scale_query", "HF: the temperature widens the query."),
    Expected(
        "round-trip", f"{_OURS}norms:* -> {_OURS}attention:*_scale_query", "HF: the temperature widens the query."
    ),
    Expected("island", _OURS + "decoder:*", "The policy keeps the residual stream in float32.", cells="mixed/*"),
    *(
        Expected(
            "round-trip",
            f"{source} -> {_OURS}{adding}",
            "The policy keeps the residual stream in float32: what is added to it has the model's dtype.",
            cells="mixed/*",
        )
        for source, adding in (
            (_LINEAR, "decoder:*"),
            (_LINEAR, "vision*:*"),
            (_OURS + "norms:*", "vision*:*"),
            (_LINEAR, "multimodal:Llama4ImageMerge.__call__"),
        )
    ),
    Expected(
        "round-trip",
        f"{_LINEAR} -> {_LINEAR}",
        "The policy keeps parameters in float32: a bias is rounded to what products take, and added to their sum.",
        cells="mixed/*",
    ),
    *(
        Expected("round-trip", f"{_WEIGHTS} -> {_OURS}{taking}", _ROUNDED, "backward")
        for taking in ("attention:*_scale_query", "linear:Linear.__call__", "norms:*", "rope:apply_rotary_emb")
    ),
    *(
        Expected("round-trip", f"{source} -> {taking}", _ROUNDED, "backward")
        for source, taking in ((_VALUES, _WEIGHTS), (_VALUES, _LINEAR), (f"{_OURS}linear:_wide_product", _VALUES))
    ),
    *(
        Expected("round-trip", f"{_OURS}{source} -> {_OURS}{added}", _STREAM, "backward", "mixed/*")
        for source, added in (
            ("decoder:Llama4TextDecoderLayer.__call__", "linear:Linear.__call__"),
            ("decoder:Llama4TextDecoderLayer.__call__", "moe:Llama4TextMoe._every_expert"),
            ("multimodal:Llama4ImageMerge.__call__", "linear:Linear.__call__"),
            ("vision:Llama4VisionModel.__call__", "norms:Llama4VisionLayerNorm.__call__"),
            ("vision_encoder:Llama4VisionEncoderLayer.__call__", "linear:Linear.__call__"),
        )
    ),
    Expected("island", _OURS + "multimodal:Llama4ImageMerge.__call__*", _STREAM, "backward", "mixed/*"),
    Expected("island", "flax.nnx.nn.linear:Embed.__call__", _WIDE_PARAMETERS, "backward", "mixed/*"),
    Expected("round-trip", f"{_OURS}linear:_wide_product -> {_LINEAR}", _WIDE_PARAMETERS, "backward", "mixed/*"),
    Expected(
        "round-trip", f"{_OURS}moe:bmm -> {_OURS}moe:Llama4TextExperts.*", _WIDE_PARAMETERS, "backward", "mixed/*"
    ),
    Expected("round-trip", f"{_OURS}linear:_wide_product -> {_OURS}norms:*", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}linear:_wide_product -> {_OURS}mlp:GELUActivation.__call__", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}norms:* -> {_LINEAR}", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}norms:* -> {_OURS}moe:Llama4TextMoe._every_expert", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}norms:* -> {_OURS}rope:apply_rotary_emb", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}mlp:*Activation.__call__ -> {_LINEAR}", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}mlp:*Activation.__call__ -> {_OURS}moe:bmm", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}rope:apply_rotary_emb -> {_LINEAR}", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}attention:*_scale_query -> {_LINEAR}", _ROUNDED, "backward"),
    Expected("round-trip", f"{_OURS}moe:Llama4TextMoe._every_expert -> {_OURS}moe:bmm", _ROUNDED, "backward"),
    Expected("low-math", _OURS + "moe:Llama4TextMoe._every_expert", _PARTS, "backward"),
    Expected("low-math", _OURS + "vision:Llama4VisionModel._tokens", _PARTS, "backward"),
    Expected("compiled-accumulation", _OURS + "moe:Llama4TextMoe._every_expert", _PARTS),
    Expected("compiled-accumulation", _OURS + "vision:Llama4VisionModel._tokens", _PARTS),
    Expected(
        "compiled-accumulation",
        "flax.nnx.nn.linear:Embed.__call__*",  # under Explicit axes it looks up in a function of its own
        "HF: torch adds the gradients of an embedding's rows in the model's dtype too.",
    ),
    Expected(
        "compiled-accumulation",
        _OURS + "multimodal:Llama4ImageMerge.__call__*",
        "HF: a row of a picture goes to one slot, so that nothing but zeros is added to its gradient.",
    ),
    Expected("excess-precision", _OURS + "decoder:Llama4TextDecoderLayer.__call__", _KEPT),
    Expected("excess-precision", _OURS + "mlp:Llama4TextMLP.__call__", _KEPT),
    Expected("excess-precision", _OURS + "linear:_wide_product", _KEPT),
    *(Expected("excess-precision", where, _KEPT, cells="*/*sp*/*") for where in (_WEIGHTS, _VALUES)),
    Expected("excess-precision", _OURS + "moe:*", _KEPT),
    Expected("excess-precision", _OURS + "vision:Llama4VisionModel._tokens", _KEPT),
    Expected("excess-precision", _OURS + "vision_encoder:Llama4VisionEncoderLayer.__call__", _KEPT),
)

# Every role that is read on the way to the logits is in one of these.
ASPECTS = (
    Aspect("norm", ("norm",), doc="RMS, L2 and layer norms, inside"),
    Aspect("softmax", ("scores", "softmax"), doc="attention scores, their scaling and their softmax"),
    Aspect("router", ("router_logits", "router"), doc="router logits, top-k of them, sigmoid"),
    Aspect("logits", ("logits",), doc="vocabulary logits"),
    Aspect("residual", ("residual",), doc="the residual stream, embeddings first"),
    Aspect("rope", ("rope",), doc="frequencies, angles, cos and sin, rotation"),
    Aspect("activation", ("activation",), doc="SiLU and GELU, inside"),
    Aspect("temperature", ("temperature",), doc="attention temperature and its product with the query"),
    Aspect("products", ("param", "compute"), doc="weights, operands and results of products"),
    Aspect(
        "accumulation",
        matmul={"bfloat16": "bf16-accumulate", "float16": "f16-accumulate"},
        doc="what products are summed in, emulated: rounded after every 8 terms",
    ),
)
