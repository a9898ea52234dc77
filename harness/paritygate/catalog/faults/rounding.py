"""Source text of roundings, for the faults of precision.

Roundings are spelled out. Within a fusion XLA computes 16-bit values in 32 bits and rounds the result only, so that the
mere dtype loses nothing on a CPU that it loses where the arithmetic has 16 bits.
"""

from paritygate.core.fault import Patch

BLOCK = 8
# The product of queries and keys, as the candidate writes it.
SCORES = "jnp.einsum(letters, grouped, key, precision=precision, preferred_element_type=wide, out_sharding=split)"


def narrow(dtype: str) -> str:
    """Source of a function that rounds to `dtype`."""
    return f"narrow = lambda value: jax.lax.reduce_precision(value, jnp.finfo({dtype}).nexp, jnp.finfo({dtype}).nmant)"


def first(target: str, line: str, dtype: str) -> Patch:
    """The function gets `narrow` before a line."""
    return Patch(target, line, f"{narrow(dtype)}\n    {line}")


def in_blocks(one: str, other: str, product: str, length: str, block: int = BLOCK) -> str:
    """Source of a sum of products that is rounded after each block of the axis of that length."""
    return (
        f"total = 0\n    for at in range(0, {length}, {block}):\n"
        f"        a, b = {one}, {other}\n        total = narrow(total + {product})"
    )
