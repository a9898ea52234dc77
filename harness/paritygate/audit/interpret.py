"""Traces a function and evaluates it equation by equation, with rules in place of chosen primitives.

Loops stay loops and branches stay branches: each is emitted again around its rewritten body, so that what a program
costs to compile does not grow with its depth. What holds no primitive that a rule is for is emitted as it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import source_info_util
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from paritygate.audit.source import held, open_jaxpr, source_line
from paritygate.core.errors import InfrastructureError, UsageError


class Origin(NamedTuple):
    """What a value is made of: nothing but weights, laid out otherwise; or what comes down from a derivative."""

    weight: bool = False
    cotangent: bool = False


class At(NamedTuple):
    """The equation that a rule stands in for, and the origins of its inputs."""

    eqn: JaxprEqn
    origins: tuple[Origin, ...]


Rule = Callable[[At, list[Any]], Sequence[Any]]
_Values = tuple[list[Any], list[Origin]]

# Primitives that move or cast values and compute nothing: a weight that went through them is that weight.
_LAYOUT = frozenset(
    "broadcast_in_dim concatenate convert_element_type copy dynamic_slice gather name optimization_barrier pad"
    " reduce_precision reshape reshard rev sharding_constraint slice squeeze stop_gradient transpose".split()
)
# Primitives whose program is no jaxpr: what they multiply cannot be known.
_OPAQUE = frozenset("ffi_call pure_callback io_callback tpu_custom_call triton_kernel_call scaled_matmul".split())


def rewritten(
    function: Callable[..., Any], rules: Mapping[str, Rule], weights: Sequence[int] = ()
) -> Callable[..., Any]:
    """`function` with each equation of a primitive that `rules` names replaced by what its rule gives.

    A rule gets the equation and its inputs, and returns a value for each output, of the same shape and dtype. `weights`
    are the positions of the arguments that hold weights. Take derivatives first: `rewritten(jax.grad(f), rules)`
    rewrites the products of the backward pass too, and to differentiate what is rewritten raises UsageError. A
    primitive that hides one of those from the interpreter, such as a Pallas kernel with a product in it, raises
    InfrastructureError.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args, **kwargs)
        origins = [Origin(weight=at in weights) for at, argument in enumerate(args) for _ in jax.tree.leaves(argument)]
        leaves = jax.tree.leaves((args, kwargs))
        origins += [Origin()] * (len(leaves) - len(origins))
        outputs, _ = _Interpreter(rules).run(closed.jaxpr, closed.consts, leaves, origins, "forward")
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return run


class _Interpreter:
    def __init__(self, rules: Mapping[str, Rule]):
        self.rules = rules
        self._touched: dict[int, bool] = {}
        self._jitted: dict[Any, tuple[Callable[..., Any], list[Origin]]] = {}
        self._kept: list[Any] = []  # what an id above stands for must live as long as the id

    def run(
        self, jaxpr: Jaxpr, consts: Iterable[Any], args: Iterable[Any], origins: Iterable[Origin], way: str
    ) -> _Values:
        """The outputs of a jaxpr and their origins; `way` is `backward` within what a derivative added."""
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        values |= zip(jaxpr.invars, args, strict=True)
        known: dict[Any, Origin] = dict(zip(jaxpr.invars, origins, strict=True))

        def read(var: Any) -> Any:
            return var.val if isinstance(var, Literal) else values[var]

        def origin(var: Any) -> Origin:
            return Origin() if isinstance(var, Literal) else known.get(var, Origin())

        for eqn in jaxpr.eqns:
            name_stack = source_info_util.current_name_stack() + eqn.source_info.name_stack
            with source_info_util.user_context(eqn.source_info.traceback, name_stack=name_stack), eqn.ctx.manager:
                here = "backward" if "transpose(" in str(eqn.source_info.name_stack) else way
                found = self._equation(eqn, [read(v) for v in eqn.invars], [origin(v) for v in eqn.invars], here)
            values |= zip(eqn.outvars, found[0], strict=True)
            known |= zip(eqn.outvars, found[1], strict=True)
        return [read(var) for var in jaxpr.outvars], [origin(var) for var in jaxpr.outvars]

    def _equation(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        name = eqn.primitive.name
        if name in self.rules:
            return self._ruled(eqn, inputs, origins), origins_of(eqn, origins, way)
        if not self._touches(eqn):
            # JAX before 0.10 gives the functions that are called beside the parameters, later ones among them.
            given: Any = eqn.primitive.get_bind_params(eqn.params)
            functions, params = given if isinstance(given, tuple) else ((), given)
            found = eqn.primitive.bind(*functions, *inputs, **params)
            return list(found) if eqn.primitive.multiple_results else [found], origins_of(eqn, origins, way)
        if name not in _EMITTED:
            raise InfrastructureError(
                "a primitive cannot be looked into",
                where=f"{name} at {source_line(eqn)}",
                expected=f"a program without {', '.join(sorted(self.rules))}, or one of {', '.join(sorted(_EMITTED))}",
                try_="give the candidate a path without that kernel, or choose a cell that runs without emulation",
            )
        return _EMITTED[name](self, eqn, inputs, origins, way)

    def _ruled(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin]) -> list[Any]:
        at = At(eqn, tuple(origins))

        @jax.custom_jvp
        def sealed(*args: Any) -> tuple[Any, ...]:
            return tuple(self.rules[eqn.primitive.name](at, list(args)))

        @sealed.defjvp
        def refuse(primals: Any, tangents: Any) -> Any:
            raise UsageError(
                "a rewritten function was differentiated",
                where=f"{eqn.primitive.name} at {source_line(eqn)}",
                expected="the derivative rewritten, with its own products",
                got="the derivative of what is rewritten",
                try_="rewritten(jax.grad(f), rules) in place of jax.grad(rewritten(f, rules))",
            )

        found = sealed(*inputs)
        wanted: list[Any] = [var.aval for var in eqn.outvars]
        for want, got in zip(wanted, found, strict=True):
            if (want.shape, want.dtype) != (got.shape, got.dtype):
                raise UsageError(
                    "a rule changes what an equation gives",
                    where=f"{eqn.primitive.name} at {source_line(eqn)}",
                    expected=f"{want.dtype.name}{list(want.shape)}",
                    got=f"{got.dtype.name}{list(got.shape)}",
                )
        return list(found)

    def _touches(self, eqn: JaxprEqn) -> bool:
        """Whether there is, or may be, an equation inside this one that a rule is for."""
        if not self.rules:
            return False
        if eqn.primitive.name in _OPAQUE:
            return True
        return any(self._holds(open_jaxpr(program)) for program in held(eqn))

    def _holds(self, jaxpr: Jaxpr) -> bool:
        if id(jaxpr) not in self._touched:
            self._kept.append(jaxpr)
            self._touched[id(jaxpr)] = any(eqn.primitive.name in self.rules or self._touches(eqn) for eqn in jaxpr.eqns)
        return self._touched[id(jaxpr)]

    def body(self, program: Any, origins: Sequence[Origin], way: str, said: list[Origin]) -> Callable[..., list[Any]]:
        """A function that evaluates a jaxpr, and leaves the origins of its outputs in `said` when it is traced."""
        jaxpr, consts = (program.jaxpr, program.consts) if hasattr(program, "consts") else (program, ())

        def evaluate(*args: Any) -> list[Any]:
            outputs, said[:] = self.run(jaxpr, consts, args, origins, way)
            return outputs

        return evaluate

    def jit(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        program = eqn.params["jaxpr"]
        key = (id(program), tuple(origins), way)
        if key not in self._jitted:  # one function for each, so that it is traced and lowered once
            said: list[Origin] = []
            evaluate = self.body(program, origins, way, said)
            evaluate.__name__ = eqn.params.get("name", "rewritten")
            shardings = {
                side: tuple(s if isinstance(s, jax.sharding.Sharding) else None for s in eqn.params.get(side, ()))
                for side in ("in_shardings", "out_shardings")
            }
            options: dict[str, Any] = {side: (found if side == "in_shardings" else list(found))
                                       for side, found in shardings.items() if any(found)}  # fmt: skip
            self._kept.append(program)
            self._jitted[key] = jax.jit(evaluate, inline=eqn.params.get("inline", False), **options), said
        function, said = self._jitted[key]
        return function(*inputs), said

    def inline(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        program = next(eqn.params[name] for name in ("call_jaxpr", "fun_jaxpr", "call", "jaxpr") if name in eqn.params)
        jaxpr, consts = (program.jaxpr, program.consts) if hasattr(program, "consts") else (program, ())
        return self.run(jaxpr, consts, inputs, origins, way)

    def remat(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        params = eqn.params
        if params["differentiated"]:  # what it was for is done; the barrier keeps the second computation a second one
            if params["prevent_cse"]:
                inputs = jax.lax.optimization_barrier(inputs)
            return self.run(params["jaxpr"], (), inputs, origins, way)
        said: list[Origin] = []
        evaluate = self.body(params["jaxpr"], origins, way, said)
        kept = jax.checkpoint(evaluate, prevent_cse=params["prevent_cse"], policy=params["policy"])
        return kept(*inputs), said

    def scan(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        params, said = eqn.params, list[Origin]()
        first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
        consts, carry, xs = inputs[:first], inputs[first:last], inputs[last:]
        evaluate = self.body(params["jaxpr"], origins, way, said)

        def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
            outputs = evaluate(*consts, *carry, *x)
            return outputs[: params["num_carry"]], outputs[params["num_carry"] :]

        carried, stacked = jax.lax.scan(
            step, carry, xs, length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
        )
        return [*carried, *stacked], said

    def while_loop(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        params, said = eqn.params, list[Origin]()
        first = params["cond_nconsts"]
        last = first + params["body_nconsts"]
        test = self.body(params["cond_jaxpr"], [*origins[:first], *origins[last:]], way, [])
        step = self.body(params["body_jaxpr"], origins[first:], way, said)
        found = jax.lax.while_loop(
            lambda carry: test(*inputs[:first], *carry)[0],
            lambda carry: step(*inputs[first:last], *carry),
            inputs[last:],
        )
        return found, said

    def cond(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        said: list[list[Origin]] = [[] for _ in eqn.params["branches"]]
        branches = [
            self.body(branch, origins[1:], way, of_branch)
            for branch, of_branch in zip(eqn.params["branches"], said, strict=True)
        ]
        found = jax.lax.switch(inputs[0], branches, *inputs[1:])
        merged = [
            Origin(all(one.weight for one in each), any(one.cotangent for one in each))
            for each in zip(*said, strict=True)
        ]
        return found, merged

    def shard_map(self, eqn: JaxprEqn, inputs: list[Any], origins: list[Origin], way: str) -> _Values:
        params, said = eqn.params, list[Origin]()
        manual = params.get("newly_manual_axes", params.get("manual_axes"))
        evaluate = self.body(params["jaxpr"], origins, way, said)
        mapped = jax.shard_map(
            lambda *args: tuple(evaluate(*args)),
            mesh=params["mesh"],
            in_specs=tuple(params["in_specs"]),
            out_specs=tuple(params["out_specs"]),
            check_vma=params["check_vma"],
            axis_names=set(manual or ()),
        )
        return list(mapped(*inputs)), said


_EMITTED: Mapping[str, Callable[..., _Values]] = {
    "jit": _Interpreter.jit,
    "pjit": _Interpreter.jit,
    "closed_call": _Interpreter.inline,
    "core_call": _Interpreter.inline,
    "call": _Interpreter.inline,
    "custom_jvp_call": _Interpreter.inline,
    "custom_vjp_call": _Interpreter.inline,
    "custom_vmap_call": _Interpreter.inline,
    "remat": _Interpreter.remat,
    "remat2": _Interpreter.remat,
    "checkpoint": _Interpreter.remat,
    "scan": _Interpreter.scan,
    "while": _Interpreter.while_loop,
    "cond": _Interpreter.cond,
    "shard_map": _Interpreter.shard_map,
}


def origins_of(eqn: JaxprEqn, origins: list[Origin], way: str) -> list[Origin]:
    """Of an equation that was not looked into.

    What a backward pass computes is a cotangent where it is made of one, or of nothing: the 1 that it starts from.
    """
    given = [origin for var, origin in zip(eqn.invars, origins, strict=True) if not isinstance(var, Literal)]
    weight = bool(given) and given[0].weight and eqn.primitive.name in _LAYOUT
    cotangent = way == "backward" and (not given or any(origin.cotangent for origin in given))
    return [Origin(weight, cotangent)] * len(eqn.outvars)
