"""Which dtype each role of the computation uses: every cast in the model reads one field of `Numerics`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# What follows the model's dtype in HF, and what HF computes in float32 whatever that is.
_MODEL = ("param", "compute", "residual", "scores", "router_logits", "logits")
_ISLANDS = ("norm", "rope", "softmax", "activation", "router", "temperature", "loss")
ROLES = (*_MODEL, *_ISLANDS)

# HF: the `.float()` calls in its model. This is the only dtype named in the package.
HF_ISLAND = jnp.dtype("float32")


def accumulation(dtype: Any) -> np.dtype:
    """What a matrix product of this dtype sums in before it rounds once: 16 bits in 32, wider dtypes in themselves.

    Asked for in the product itself, not left to the compiler: XLA on CPU has 16-bit kernels for a product that gives
    32 bits, and widens both operands in memory for one that gives 16.
    """
    dtype = jnp.dtype(dtype)
    return dtype if dtype.itemsize > HF_ISLAND.itemsize else HF_ISLAND


@dataclasses.dataclass(frozen=True)
class Numerics:
    """One dtype per role, and the precision of matrix products.

    A value of this class is static: it is hashable, equal by value, and part of a module's graph definition.
    """

    param: np.dtype  # stored weights
    compute: np.dtype  # activations between modules, operands and results of matrix products
    residual: np.dtype  # the stream that layers add to, embeddings first, until a norm reads it
    scores: np.dtype  # query · key and what becomes of it until the softmax
    router_logits: np.dtype  # the router's product, and the top-k of it
    logits: np.dtype  # the head's product: over the vocabulary, or over the labels
    norm: np.dtype  # inside RMSNorm and L2Norm, up to the product with the weight
    rope: np.dtype  # inverse frequencies, angles, cos and sin, and the rotation itself
    softmax: np.dtype  # inside the scaling of the scores and the attention softmax
    activation: np.dtype  # inside silu
    router: np.dtype  # inside the router's sigmoid
    temperature: np.dtype  # attention temperature and its product with the query
    loss: np.dtype  # log-softmax of the logits and the mean over tokens
    # HIGHEST because accelerators otherwise round float32 operands. None leaves the choice to JAX's own default.
    precision: Any = jax.lax.Precision.HIGHEST

    def __post_init__(self):
        for role in ROLES:
            dtype = jnp.dtype(getattr(self, role))
            if not jnp.issubdtype(dtype, jnp.floating):
                raise ValueError(f"Numerics.{role}: expected a floating dtype, got {dtype.name}")
            object.__setattr__(self, role, dtype)

    @classmethod
    def uniform(cls, dtype: Any, *, precision: Any = jax.lax.Precision.HIGHEST) -> "Numerics":
        """Every role in one dtype."""
        roles: dict[str, Any] = dict.fromkeys(ROLES, dtype)
        return cls(**roles, precision=precision)

    @classmethod
    def like_hf(cls, dtype: Any, *, precision: Any = jax.lax.Precision.HIGHEST) -> "Numerics":
        """The dtype flow of HF's eager model loaded in `dtype`.

        HF computes norms, rope, temperature, the router's sigmoid and the loss in float32, and torch's CPU kernels for
        silu and softmax do so inside. In float64 every role is float64: that is HF with its float32 islands lifted.
        """
        model, island = jnp.dtype(dtype), accumulation(dtype)
        roles: dict[str, Any] = {role: model if role in _MODEL else island for role in ROLES}
        return cls(**roles, precision=precision)

    def require_available(self) -> None:
        """Raise ValueError where JAX would silently store a narrower dtype than asked for (float64 without x64)."""
        narrowed = [
            f"{role}={getattr(self, role).name}"
            for role in ROLES
            if jax.dtypes.canonicalize_dtype(getattr(self, role)) != getattr(self, role)
        ]
        if narrowed:
            raise ValueError(f"JAX would narrow {', '.join(narrowed)}: set jax_enable_x64, or choose a narrower dtype")


def resolve(
    dtype: Any = None, param_dtype: Any = None, precision: Any = None, numerics: Numerics | None = None
) -> Numerics:
    """What the constructors make of their arguments: `numerics` as it is, or HF's dtype flow in `dtype`.

    `dtype` defaults to float32 and `param_dtype` to `dtype`; a `precision` of None is the default of `Numerics`.
    Raises ValueError where `numerics` is given beside any of the others, which it already says.
    """
    given = {"dtype": dtype, "param_dtype": param_dtype, "precision": precision}
    said = [name for name, value in given.items() if value is not None]
    if numerics is not None:
        if said:
            raise ValueError(f"numerics already says {', '.join(said)}: give one or the other")
        return numerics
    resolved = Numerics.like_hf(HF_ISLAND if dtype is None else dtype)
    changes: dict[str, Any] = {}
    if param_dtype is not None:
        changes["param"] = param_dtype
    if precision is not None:
        changes["precision"] = precision
    return dataclasses.replace(resolved, **changes)
