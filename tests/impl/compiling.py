"""What JAX compiles while a test runs, and how to make it do so in less time."""

import contextlib
from collections.abc import Iterator

import jax
import jax.monitoring

# Nearly all the time of a test goes into compiling its programs; without these emitters it is much less.
QUICK = {"xla_cpu_use_fusion_emitters": False}


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """The steps of every compilation inside: tracing, lowering, compiling."""
    seen: list[str] = []

    def listen(event: str, duration: float, **_) -> None:
        if event.startswith("/jax/core/compile/"):
            seen.append(event.removeprefix("/jax/core/compile/"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
