"""The reference or the candidate of a family: how it is built and fed, by dotted strings, and what it can be asked."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Side:
    """The reference or the candidate of a family.

    `build` is called as build(config, weights, dtype) in torch and build(config, weights, policy) in JAX and returns
    the module. `inputs` maps a parameter of the whole model to a case input (`tokens`, `attention_mask`,
    `position_ids`, `labels`, `slots`, `pixels`). `functions` are functions of a module or methods of a class whose
    calls are tapped (reference only). `pictures` is called as pictures(picture, photo, random, config) and returns the
    tiles that the model is given of a photograph, and the tokens that stand for them (reference only).
    `interpreter` is the Python to run the worker with; empty means this one (candidate only).

    `cache` makes what prompts in pieces are fed through: cache(module) in torch, given as the parameter `cache_name`;
    in JAX, cache(module, kind, batch, length) gives an object whose `arguments` puts an empty cache, and later the one
    that it was told to `keep`, beside a piece's inputs, the next one being the result's `cache_name`; its `placed` are
    the logical axes that a mesh splits what the cache holds by, by pattern (fnmatch) of the path in it. `gradients` is
    called as gradients(module, arguments, output) and returns the gradient of an output by each weight, under the
    reference's names (candidate only); it may also be given `compiled`, to be used in place of `jax.jit` on the
    derivative, a function of the weights and then of what else is given. `parameters` is called as parameters(module)
    and returns the candidate's parameters under the reference's names and in its layouts, without arithmetic on them
    (candidate only). `narrowed` is called as narrowed(module, path, policy) and returns a context in which the module
    at a path computes in another policy (candidate only). `abstract` is called as abstract(config, policy, order,
    devices) and returns one pass of the model as a program of shapes, to be compiled and not run; `dispatches` are the
    candidate's words for how tokens may get to their experts there (candidate only).
    `sharded` is called as sharded(module, mesh, layout), moves the parameters onto a mesh by a layout's rules, and
    returns a context in which the module computes on it (candidate only).
    """

    build: str
    inputs: Mapping[str, str]
    functions: tuple[str, ...] = ()
    interpreter: str = ""
    cache: str = ""
    cache_name: str = "past_key_values"
    gradients: str = ""
    pictures: str = ""
    parameters: str = ""
    narrowed: str = ""
    abstract: str = ""
    dispatches: tuple[str, ...] = ("auto",)
    sharded: str = ""
