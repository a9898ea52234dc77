"""Candidates that go wrong, each in one way, for the tests of what a replay makes of it."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import toy_jax
from flax import nnx
from jax.experimental import io_callback

from paritygate.core.cell import DtypePolicy


def _head(change: Any) -> Any:
    """A builder whose head's result is changed."""

    class Changed(toy_jax.Matrix):
        def __call__(self, inputs: jax.Array) -> jax.Array:
            return change(super().__call__(inputs))

    def build(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
        model = toy_jax.build(config, weights, policy)
        model.head = Changed(model.head.kernel[...])
        return model

    return build


nan = _head(lambda x: x.at[0, 0, 0].set(jnp.nan))
nan_in_padding = _head(lambda x: x.at[1, 0, 0].set(jnp.nan))
transposed = _head(lambda x: x.swapaxes(1, 2))
doubled = _head(lambda x: x * 2)
coarse = _head(lambda x: jax.lax.reduce_precision(x, 8, 4) if x.dtype == jnp.bfloat16 else x)
late = _head(lambda x: x.at[0, 5:, 1::2].multiply(2))
integers = _head(lambda x: jnp.round(x).astype(jnp.int32))


def _shaken(share: float) -> Any:
    """A builder whose head's result is too small, right or too large by a share, in turn, pass by pass."""
    calls = itertools.count(1)

    def factor() -> np.ndarray:
        return np.asarray(1.0 + share * (next(calls) // 2 % 3 - 1), np.float32)

    def shake(x: jax.Array) -> jax.Array:
        drawn = io_callback(factor, jax.ShapeDtypeStruct((), jnp.float32))
        return (x * drawn).astype(x.dtype)

    return _head(shake)


shaken = _shaken(2.0**-23)
mostly_noise = _shaken(0.5)


def inherits(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """Right, but the head's class inherits its `__call__`."""

    class Head(toy_jax.Matrix):
        pass

    model = toy_jax.build(config, weights, policy)
    model.head = Head(model.head.kernel[...])
    return model


def raises(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    class Broken(toy_jax.Matrix):
        def __call__(self, inputs: jax.Array) -> jax.Array:
            raise ValueError("the head is not ported yet")

    model = toy_jax.build(config, weights, policy)
    model.head = Broken(model.head.kernel[...])
    return model


def headless(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    model = toy_jax.build(config, weights, policy)
    model.output, model.head = model.head, None

    class Renamed(toy_jax.Toy):
        def __call__(self, tokens: jax.Array) -> jax.Array:
            x = self.embed(tokens)
            for layer in self.layers:
                x = layer(x)
            return self.output(x)

    model.__class__ = Renamed
    return model


def noisy(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    print('{"drift": "not a drift"}', flush=True)
    os.write(1, b"straight to the descriptor\n")
    print("a warning of the candidate", file=sys.stderr)
    return toy_jax.build(config, weights, policy)


def killed(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    if policy.name == "bf16":
        os.kill(os.getpid(), signal.SIGKILL)
    return toy_jax.build(config, weights, policy)


def hangs(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    time.sleep(600)
    raise AssertionError("the worker was not stopped")


def no_such_weight(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    raise KeyError("decoder.weight")


def one_dtype_fails(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    if policy.name == "bf16":
        raise ValueError("bfloat16 is not supported")
    return toy_jax.build(config, weights, policy)


def key_error(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    class Broken(toy_jax.Matrix):
        def __call__(self, inputs: jax.Array) -> jax.Array:
            return {"other": inputs}["kv_cache"]

    model = toy_jax.build(config, weights, policy)
    model.head = Broken(model.head.kernel[...])
    return model


def secretly_float32(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    return toy_jax.build(config, weights, replace(policy, compute="float32"))


def exits(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    os._exit(0)


def stops(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], policy: DtypePolicy) -> nnx.Module:
    """Right, but in bf16 it ends as the environment says: a run that can be finished by the same sources."""
    end = os.environ.get("TOY_STOPS", "") if policy.name == "bf16" else ""
    if end == "killed" or (end == "process 1 killed" and jax.process_index() == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "hangs":
        time.sleep(600)
    model = toy_jax.build(config, weights, policy)
    if end == "hangs in head":

        class Slow(toy_jax.Matrix):
            def __call__(self, inputs: jax.Array) -> jax.Array:
                time.sleep(600)
                return super().__call__(inputs)

        model.head = Slow(model.head.kernel[...])
    if end == "process 1 differs" and jax.process_index() == 1:

        class Other(toy_jax.Toy):
            pass

        model.__class__ = Other
    return model
