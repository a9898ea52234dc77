"""Porting faults, each a change of one place in the candidate's source, and where the gate must point."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`old` stands exactly once in `file` of jax_llama4 and becomes `new`.

    `at` is the first address to blame; `also` are the same code's other uses, without the layer.
    """

    name: str
    file: str
    old: str
    new: str
    at: str
    also: tuple[str, ...] = ()


FAULTS = (
    Fault(
        "rope rotated by halves",
        "rope.py",
        """    pairs = x.astype(numerics.rope).reshape(*x.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    cos, sin = frequencies[:, :, None, :, 0], frequencies[:, :, None, :, 1]
    rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
""",
        """    first, second = jnp.split(x.astype(numerics.rope), 2, axis=-1)
    cos, sin = frequencies[:, :, None, :, 0], frequencies[:, :, None, :, 1]
    rotated = jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
""",
        "layers.0.attn:inner.q_rope",
    ),
    Fault(
        "rms norm eps × 0.1",
        "norms.py",
        "normed = _divide_by_rms(x.astype(self.numerics.norm), self.eps)",
        "normed = _divide_by_rms(x.astype(self.numerics.norm), self.eps * 0.1)",
        "layers.0.input_norm:out",
        also=("post_norm:out", "norm:out"),
    ),
    Fault(
        "chunk mask off by one",
        "masks.py",
        "query_chunk = (query_slots - starts[:, None]) // chunk_size",
        "query_chunk = (query_slots + 1 - starts[:, None]) // chunk_size",
        "masks:out.chunked",
    ),
    Fault(
        "router score on the expert output",
        "moe.py",
        """        routed_in = tokens[None, :, :] * scores.T[:, :, None]
        routed_out = self.experts(routed_in.reshape(-1, tokens.shape[-1])).reshape(routed_in.shape)
""",
        """        routed_in = jnp.broadcast_to(tokens, (scores.shape[1], *tokens.shape))
        routed_out = self.experts(routed_in.reshape(-1, tokens.shape[-1])).reshape(routed_in.shape)
        routed_out = routed_out * scores.T[:, :, None]
""",
        "layers.0.moe:out",
    ),
    Fault(
        "temperature off by one position",
        "attention.py",
        "count = jnp.maximum(query_slots, 0).astype(numerics.temperature) + 1.0",
        "count = jnp.maximum(query_slots, 0).astype(numerics.temperature)",
        "layers.3.attn:inner.query",
    ),
    Fault(
        "kv heads tiled instead of repeated",
        "attention.py",
        """    grouped = query.reshape(batch, length, key.shape[2], -1, width)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, precision=numerics.precision)
    scores = scores.reshape(batch, heads, length, -1)
""",
        """    tiled = jnp.tile(key, (1, 1, heads // key.shape[2], 1))
    scores = jnp.einsum("btnh,bsnh->bnts", query, tiled, precision=numerics.precision)
""",
        "layers.0.attn:inner.probs",
    ),
    Fault(
        "rope theta wrong",
        "rope.py",
        "rope.rope_theta",
        "(2 * rope.rope_theta)",
        "rope:out",
    ),
)

# Faults in what becomes of an image.
IMAGES = (
    Fault(
        "patches of a block column by column",
        "vision.py",
        "blocks.transpose(0, 1, 3, 2, 4, 5)",
        "blocks.transpose(0, 1, 3, 4, 2, 5)",
        "vision.adapter:inner.shuffled",
        also=("vision.adapter:out",),
    ),
    Fault(
        "class token first",
        "vision.py",
        "jnp.concatenate([patches, class_token], axis=1)",
        "jnp.concatenate([class_token, patches], axis=1)",
        "vision.tokens:out",
        also=("vision:out",),
    ),
    Fault(
        "rotary x and y swapped",
        "rope.py",
        "np.concatenate([x, y], axis=1)",
        "np.concatenate([y, x], axis=1)",
        "vision.rope:out",
    ),
    Fault("patch index off by one", "rope.py", "((place + 1).astype(dtype)", "(place.astype(dtype)", "vision.rope:out"),
    Fault(
        "gelu by tanh",
        "mlp.py",
        "approximate=False",
        "approximate=True",
        "vision.layers.0.mlp:out",
        also=("vision.adapter.mlp:out",),
    ),
    Fault(
        "post norm missing",
        "vision.py",
        "self.vision_adapter(self.layernorm_post(features)[:, :-1])",
        "self.vision_adapter(features[:, :-1])",
        "vision.post_norm:out",
        also=("vision:out",),
    ),
    Fault(
        "features scattered column by column",
        "multimodal.py",
        "jnp.cumsum(image_mask.reshape(-1), dtype=int).reshape(image_mask.shape)",
        "jnp.cumsum(image_mask.T.reshape(-1), dtype=int).reshape(image_mask.T.shape).T",
        "merge:out",
    ),
)

# Faults that only a cache shows, in the prompt that is fed in pieces.
CACHED = (
    Fault(
        "temperature by position in the piece",
        "attention.py",
        "factor = attention_temperature(query_slots, self.floor_scale",
        "factor = attention_temperature(query_slots - query_slots[..., :1], self.floor_scale",
        "layers.3.attn:inner.query#1",
    ),
    Fault(
        "ring of a chunked layer one slot short",
        "cache.py",
        "min(max_length, chunk) if kind",
        "min(max_length, chunk - 1) if kind",
        "layers.0.attn:out#2",
    ),
    Fault(
        "chunks counted from slot 0 under a cache",
        "cache.py",
        "jnp.argmax(filled, axis=1), jnp.maximum(self.starts, lengths))",
        "0, jnp.maximum(self.starts, lengths))",
        "layers.0.attn:out",
    ),
)

# The same computation in another order: the gate must not cry wolf. `at` is empty.
HARMLESS = (
    Fault(
        "silu by its definition",
        "mlp.py",
        "jax.nn.silu(x.astype(self.numerics.activation))",
        "(jax.nn.sigmoid(x.astype(self.numerics.activation)) * x.astype(self.numerics.activation))",
        "",
    ),
    Fault(
        "mean of squares by a dot product",
        "norms.py",
        "jnp.mean(jnp.square(x), axis=-1, keepdims=True)",
        'jnp.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]',
        "",
    ),
    Fault(
        "scores with the operands exchanged",
        "attention.py",
        'scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, precision=numerics.precision)',
        'scores = jnp.einsum("bskh,btkgh->bkgts", key, grouped, precision=numerics.precision)',
        "",
    ),
)
