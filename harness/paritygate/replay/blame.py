"""Blames lines of the candidate for the drift of one value: its program, taken apart beside itself in float64."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from paritygate.audit.arithmetic import rules
from paritygate.audit.lockstep import INPUTS, WEIGHTS, Lockstep
from paritygate.audit.source import Line
from paritygate.audit.tape import Recorder, Step, Tape
from paritygate.core.blame import Blame, BlamedLine, Parting
from paritygate.core.cell import DtypePolicy, Mode
from paritygate.core.layout import real_rows
from paritygate.core.registry import load
from paritygate.core.site import Kind, address, inner_sites
from paritygate.metrics.base import LARGEST
from paritygate.metrics.measure import measure
from paritygate.replay.bench import Bench, Read
from paritygate.replay.chained import feed_of, places_of, reads_chained
from paritygate.replay.isolated import arguments_alone, reads_alone
from paritygate.replay.job import Asked
from paritygate.replay.observe import Program, given_leaves, place, submodule, traced
from paritygate.replay.routing import forced, forced_alone
from paritygate.store.objects import dtype_of

RAISED = 5  # lines that are tried in a wider dtype
METRIC = "rel_l2"


def blame(bench: Bench, asked: Asked, oracle: DtypePolicy, models: "Models") -> Blame:
    """What the lines of the candidate have to do with the drift of one value of a cell.

    `oracle` is the policy that computes in float64. JAX's x64 must be on; the candidate is built and traced without it
    where its cell is.
    """
    if asked.mode == Mode.GRADIENT:
        return without(asked, "the backward pass is not taken apart")
    golden, found = bench.golden(asked.site, asked.port, asked.call), without(asked, "")
    if asked.what == "lines" and golden.kind is not Kind.FLOAT:
        return without(asked, "a choice is not rounded: ask for the scores that it is made by")
    exact = replace(bench, policy=oracle)
    ours = _Shown(bench, exact, asked, models)
    if ours.number_of(golden.address) is None:
        return without(asked, "the candidate does not show the value")
    if asked.what == "parting":
        parting = ours.parting(asked.limit)
        reason = "" if parting else f"no value parts from the reference by more than {asked.limit:g}"
        return replace(found, parting=parting, reason=reason)
    return _ranked(found, ours, _Shown(exact, exact, asked, models).tape)


def without(asked: Asked, reason: str) -> Blame:
    """No line is blamed, and why."""
    where = address(asked.site, asked.port, asked.call)
    return Blame(asked.case.id, str(asked.cell), asked.mode, where, asked.drift, reason=reason)


def _ranked(found: Blame, ours: "_Shown", exact: Tape) -> Blame:
    read = ours.reads[found.address]
    number = ours.number_of(found.address)
    assert number is not None
    lockstep = Lockstep(ours.tape, number, exact)

    def rows(value: np.ndarray) -> np.ndarray:
        return ours.rows(read, value).astype(np.float64)

    start, end = rows(lockstep.exact), rows(lockstep.own)
    if not np.isfinite(end).all():
        line = lockstep.overflowing
        return replace(found, reason=f"the value is not finite{f', from {line} on' if line else ''}")
    whole = rows(lockstep.with_lines(lockstep.lines))
    difference = whole - start
    size = float(np.sum(difference**2))

    def share(line: Line) -> float:
        effect = rows(lockstep.with_lines([line])) - start
        return float(np.nan_to_num(np.sum(effect * difference) / size, nan=0.0, posinf=LARGEST, neginf=-LARGEST))

    shares = {line: share(line) for line in lockstep.lines if size}
    ranked = sorted((line for line in shares if line not in (INPUTS, WEIGHTS)), key=lambda line: -shares[line])
    wide = _wider(ours.bench.policy)
    lines: list[BlamedLine] = []
    for rank, line in enumerate(ranked):
        what, caller = lockstep.what(line)
        raised = ours.drift(read, lockstep.raised(line, wide), ours.dtype(read)) if rank < RAISED else None
        lines.append(
            BlamedLine(line.short, line.function, what, shares[line], raised, caller.short if caller.file else "")
        )
    return replace(
        found,
        lockstep=ours.drift(read, lockstep.own),
        exact=ours.drift(read, lockstep.exact),
        lines=tuple(lines),
        inputs=shares.get(INPUTS, 0.0),
        weights=shares.get(WEIGHTS, 0.0),
        remainder=1 - sum(shares.values()) if shares else 0.0,
        unequal=float(np.linalg.norm(whole - end)) / size**0.5 if size else 0.0,
        raised_to=wide,
        own_dtype=tuple(lockstep.own_dtype),
    )


def _wider(policy: DtypePolicy) -> str:
    return "float64" if policy.dtype("compute") == "float32" and not policy.matmul else "float32"


class _Shown:
    """The program that shows a value, on a tape, and which of its values the reference has too."""

    def __init__(self, bench: Bench, exact: Bench, asked: Asked, models: "Models"):
        self.bench = bench
        recorder = Recorder(rules(bench.policy.matmul) if bench.policy.matmul else {})
        self.tape = recorder.tape
        self.reads: dict[str, Read] = {}
        self._numbers: dict[str, int] = {}
        show = self._alone if asked.mode == Mode.ISOLATED else self._chained
        show(recorder, exact, asked, models)

    def _alone(self, recorder: Recorder, exact: Bench, asked: Asked, models: "Models") -> None:
        bench, site = self.bench, self.bench.site(asked.site)
        own = reads_alone(bench, site, asked.call)
        run = [*own, *bench.choices_inside(site, asked.call)]
        inside = [
            (golden, inner, port)
            for inner in inner_sites(site, bench.sites)
            for call in range(inner.calls // site.calls)
            for golden in bench.outputs(inner, asked.call * (inner.calls // site.calls) + call, Mode.CHAINED)
            for port in inner.ports
            if port.name == golden.port
        ]
        reads: list[Read] = [*run, *inside]
        calls = [0] * len(run) + [golden.call % (inner.calls // site.calls) for golden, inner, _ in inside]
        places = [place(port, owner, at, site.candidate) for (_, owner, port), at in zip(reads, calls, strict=True)]
        with as_its_cell(bench):
            part = submodule(models.of(bench), site.candidate)
            program = traced(
                part, places, arguments_alone(bench, site, asked.call), forced_alone(bench, site, asked.call)
            )
        leaves = given_leaves(
            submodule(models.of(exact), site.candidate),
            arguments_alone(exact, site, asked.call),
            forced_alone(exact, site, asked.call),
        )
        self._record(recorder, program, leaves, reads)

    def _chained(self, recorder: Recorder, exact: Bench, asked: Asked, models: "Models") -> None:
        bench, site = self.bench, self.bench.site(asked.site)
        with as_its_cell(bench):
            feed = feed_of(bench, models.of(bench))
        exact_feed = feed_of(exact, models.of(exact))
        for piece, (start, end) in enumerate(bench.prompt.spans):
            reads = reads_chained(bench, piece)
            with as_its_cell(bench):
                given = bench.model_arguments(start, end)
                given = given if feed is None else feed.arguments(given)
                program = traced(models.of(bench), places_of(bench, reads, piece), given, forced(bench, piece))
            given = exact.model_arguments(start, end)
            given = given if exact_feed is None else exact_feed.arguments(given)
            leaves = given_leaves(models.of(exact), given, forced(exact, piece))
            values = self._record(recorder, program, leaves, reads)
            if feed is None or asked.call in bench.prompt.calls(site, piece):
                return
            feed.keep(values[-1])

    def _record(self, recorder: Recorder, program: Program, exact: list[Any], reads: list[Read]) -> list[Any]:
        """Runs a program, and returns its values as a pass gives them."""
        numbers = recorder.add(program.jaxpr, program.arguments, exact, program.weights)
        tree = jax.tree.structure(program.shapes)
        numbered = jax.tree.unflatten(tree, numbers)
        for read, number in zip(reads, numbered, strict=False):
            if number is not None and read[0].address not in self.reads:
                self.reads[read[0].address] = read
                self._numbers[read[0].address] = number
        return jax.tree.unflatten(tree, [self.tape.values[number] for number in numbers])

    def number_of(self, address: str) -> int | None:
        return self._numbers.get(address)

    def _real(self, read: Read) -> np.ndarray:
        golden, site, _ = read
        return self.bench.real(site, golden.call)

    def rows(self, read: Read, value: np.ndarray) -> np.ndarray:
        """The real tokens of a value, as the golden has it."""
        golden, _, port = read
        real = self._real(read)
        return real_rows(self.bench.laid_out(port, value, real), golden.layout, real)

    def dtype(self, read: Read) -> str:
        """What the reference has there in this cell; empty where the golden does not say."""
        return read[0].dtypes.get(self.bench.policy.plain, "")

    def drift(self, read: Read, value: np.ndarray, dtype: str = "") -> float:
        """From the golden, rounded to `dtype` first: rel_l2 of a float, else the part of the elements that differ."""
        golden, _, port = read
        real = self._real(read)
        wanted, got = self.bench.store.tensor(golden.tensor), self.bench.laid_out(port, value, real)
        got = got.astype(dtype_of(dtype)) if dtype else got
        if golden.kind is not Kind.FLOAT:
            ours, theirs = (real_rows(each, golden.layout, real) for each in (wanted, got))
            return float(np.mean(ours.astype(np.float64) != theirs.astype(np.float64)))
        found = measure(wanted, got, kind=golden.kind, role=golden.role, layout=golden.layout, real=real)
        return found.metrics.get(METRIC, LARGEST)

    def parting(self, limit: float) -> Parting | None:
        """The first value whose drift is over the limit; None where none is."""
        made = {number: at for at, step in enumerate(self.tape.steps) for number in step.outputs}
        order = sorted(self._numbers, key=lambda address: made.get(self._numbers[address], -1))
        drifts = {address: self.drift(self.reads[address], np.asarray(self.tape.values[self._numbers[address]]))
                  for address in order}  # fmt: skip
        first = next((address for address in order if drifts[address] > limit), None)
        if first is None:
            return None
        right = {self._numbers[address]: address for address in order if drifts[address] <= limit}
        steps, reads = self._between(self._numbers[first], right)
        before = [address for address in order[: order.index(first)] if drifts[address] <= limit]
        last = steps[-1].line if steps else Line()
        return Parting(
            first,
            last.short,
            last.function,
            drifts[first],
            before[-1] if before else "",
            tuple(dict.fromkeys(step.line.short for step in steps)),
            len(steps),
            tuple(reads),
        )

    def _between(self, number: int, right: Mapping[int, str]) -> tuple[list[Step], list[str]]:
        """The steps that a value is computed by from values that are right, and which of these they read first."""
        wanted, steps, reads = {number}, list[Step](), dict[str, None]()
        for step in reversed(self.tape.steps):
            if not wanted.intersection(step.outputs):
                continue
            steps.append(step)
            wanted.update(each for each in step.inputs if each not in right)
        for step in reversed(steps):
            reads |= dict.fromkeys(right[each] for each in step.inputs if each in right)
        return steps[::-1], list(reads)


class Models:
    """The candidate of each case and policy, built once."""

    def __init__(self) -> None:
        self._built: dict[tuple[str, str], nnx.Module] = {}

    @property
    def packages(self) -> set[str]:
        """The top-level packages of what was built."""
        return {type(model).__module__.partition(".")[0] for model in self._built.values()}

    def of(self, bench: Bench) -> nnx.Module:
        key = (bench.case.id, bench.policy.name)
        if key not in self._built:
            build = load(bench.family.candidate.build)
            self._built[key] = build(bench.manifest.config, bench.weights(), bench.policy)
        return self._built[key]


def as_its_cell(bench: Bench) -> Any:
    """A context in which the candidate is built and traced as in a worker of its cell."""
    return jax.enable_x64(bench.policy.x64)
