"""Captures goldens: the float64 oracle's values at every port, and the noise floors of its low-precision peers.

Reads the catalog, writes `golden/<suite>/<case>.json` and the objects that it names. A case whose routing is nearly
tied is refused, and the next prompt seed is tried.
"""

import platform
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import torch

from paritygate.catalog.select import families, spec_hash
from paritygate.core.cell import DtypePolicy, Mode
from paritygate.core.errors import HarnessError, UnclearRoutingError, UsageError
from paritygate.core.family import Case, Family, Prompt
from paritygate.core.golden import GRADIENTS, Golden, GoldenPort, LowPrecision
from paritygate.core.layout import real_rows
from paritygate.core.progress import SILENT, Doing, Piece, Progress
from paritygate.core.site import Kind, Port, Site, address, inner_sites
from paritygate.metrics.base import metrics
from paritygate.metrics.measure import measure
from paritygate.reference.build import CaseInputs, Peer, Reference, Traced, Values, at_once, calls_of, with_peers
from paritygate.reference.decisions import INSIDE, PeerChoices
from paritygate.reference.hooks import Recorder
from paritygate.reference.oracle import lifted
from paritygate.reference.products import product_paths
from paritygate.reference.select import value
from paritygate.store.golden import GoldenStore

MAX_SEEDS = 200
DRAWS = 5  # prompts that the floors of gradients are drawn from
_BF16_EPS = 2.0**-8


def capture(
    cases: list[Case],
    suite: str,
    store: GoldenStore,
    say: Callable[[str], None],
    known: Mapping[str, Family] | None = None,
    low_precision: LowPrecision = "auto",
    policies: Mapping[str, DtypePolicy] | None = None,
    first_seed: int = 0,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> list[Golden]:
    """Captures each case and writes its golden; a kill at any moment leaves the old goldens valid.

    `known` are the families by name, by default those of the catalog; `low_precision` is how 16-bit peers multiply
    matrices, by default as `product_paths` finds fit for this CPU. Floors are those of the peers of `policies`, by
    default of all that have one, run on `device`; prompts are drawn from `first_seed` on. Raises UsageError where a
    case cannot be captured: a selector that finds nothing, a site that never runs, routing that stays nearly tied.
    """
    torch.set_num_threads(1)  # floors then do not depend on the number of cores
    known, products = families() if known is None else known, product_paths(low_precision)
    goldens: list[Golden] = []
    references: dict[tuple[str, str], Reference] = {}
    with store.lock(exclusive=False):
        for case in cases:
            family = known[case.family]
            key = (case.family, case.preset)
            if key not in references:
                chosen = with_peers() if policies is None else policies
                preset = family.preset(case.preset)
                references[key] = Reference(family, preset, products=products, policies=chosen, device=device)
            golden = _capture_case(case, references[key], store, say, first_seed, progress)
            store.write(suite, golden)
            goldens.append(golden)
            say(f"{case.id}: {len(golden.ports)} ports captured, {_paths(golden)}")
    return goldens


def pieces_of(cases: Sequence[Case], peers: Collection[str]) -> list[Piece]:
    """What there is to capture: each peer runs a case from tokens and site by site."""
    return [Piece("", case.id, 2 * len(peers)) for case in cases]


def _capture_case(
    case: Case,
    reference: Reference,
    store: GoldenStore,
    say: Callable[[str], None],
    first_seed: int,
    progress: Progress,
) -> Golden:
    family, prompt = reference.family, reference.family.prompt(case.prompt)
    passes = _clear_passes(case, reference, say, first_seed, progress)
    first = next(passes)
    progress.done(0, "", case.id, len(reference.peers))
    case_inputs, oracle, real = first.case_inputs, first.oracle, first.real
    isolated: dict[str, Values] = {}
    for name, peer in reference.peers.items():
        progress.at(0, Doing(case=case.id, mode=Mode.ISOLATED, site=f"peer in {name}"))
        isolated[name] = isolated_values(reference, peer, prompt, first.recorder, case_inputs)
        progress.done(0, "", case.id)
    floors = {Mode.ISOLATED: isolated, Mode.CHAINED: first.chained}
    plain = at_once(reference.policies)  # an emulated product has the dtype of torch's own
    ranked = sorted(oracle.items(), key=lambda item: item[1][3])  # stable: ports of one event in the spec's order
    orders = {key: order for order, (key, _) in enumerate(ranked)}
    choices = {
        mode: {name: PeerChoices(mode, values, oracle, orders, real.mask) for name, values in sides.items()}
        for mode, sides in floors.items()
        if reference.preset.near_ties == "kept"
    }
    ports = tuple(
        GoldenPort(
            site=site.name,
            port=port.name,
            call=key[2],
            kind=port.kind,
            layout=port.layout,
            order=order,
            tensor=store.put(array),
            modes=() if port.is_input else site.modes,
            role=port.role,
            dtypes={} if port.is_input else {name: first.chained[name][key].dtype.name for name in plain},
            floors={
                mode: {
                    name: _floor(
                        port,
                        array,
                        values.get(key),
                        choices[mode][name].agreeing(key) if choices else real.of(site, key[2]),
                    )
                    for name, values in sides.items()
                }
                for mode, sides in floors.items()
                if mode in site.modes and port.kind is Kind.FLOAT and not port.is_input
            },
        )
        for order, (key, (port, site, array, _)) in enumerate(ranked)
    )
    if prompt.pieces:
        ports = _steadied(ports)
    if prompt.backward:
        draws = [first, *islice(passes, DRAWS - 1)]
        progress.at(0, Doing(case=case.id, mode=Mode.GRADIENT))
        ports += _gradients(reference, prompt, [draw.case_inputs for draw in draws], store, len(ports))
    return Golden(
        case=case,
        config=reference.preset.config,
        inputs={name: store.put(array) for name, array in case_inputs.items()},
        weights={name: store.put(array) for name, array in reference.weights.items()},
        ports=ports,
        margins={name: round(margin, 6) for name, margin in first.margins.items()},
        provenance=_provenance(first.seed, reference),
        peers={name: policy.peer for name, policy in reference.policies.items()},
        spec=spec_hash(case, family),
        computation=reference.computation(prompt, case_inputs),
        peer_values={
            mode: {
                name: {address(*key): store.put(of_peer.values[key]) for key in of_peer.kept()}
                for name, of_peer in sides.items()
            }
            for mode, sides in choices.items()
        },
    )


@dataclass(frozen=True)
class Real:
    """Which tokens are real: of the piece that a call belongs to, where the prompt is fed in pieces."""

    prompt: Prompt
    mask: np.ndarray

    def of(self, site: Site, call: int) -> np.ndarray:
        start, end = self.prompt.span(site, call)
        return self.mask[:, start:end]


@dataclass(frozen=True)
class _Pass:
    """The oracle and its peers on one prompt seed whose routing is clear."""

    seed: int
    case_inputs: CaseInputs
    recorder: Recorder
    oracle: Traced
    chained: dict[str, Values]
    margins: dict[str, float]
    real: Real


def _clear_passes(
    case: Case, reference: Reference, say: Callable[[str], None], first_seed: int, progress: Progress
) -> Iterator[_Pass]:
    """A pass for each seed that is not refused; raises UnclearRoutingError after the last."""
    family, prompt = reference.family, reference.family.prompt(case.prompt)
    for seed in range(first_seed, MAX_SEEDS):
        progress.at(0, Doing(case=case.id, mode=Mode.CHAINED, site="oracle"))
        case_inputs = reference.inputs(prompt, seed)
        with lifted():
            recorder = reference.run(reference.oracle, prompt, case_inputs)
        oracle = reference.values(recorder, prompt, case_inputs)
        real = Real(prompt, case_inputs["attention_mask"])
        margins, refused = _margins(oracle, real), reference.preset.near_ties == "refused"
        if refused and (problem := _near_tie(margins, family.min_margin_x)):
            say(f"{case.id}: seed {seed} refused, {problem}; trying seed {seed + 1}")
            continue
        chained: dict[str, Values] = {}
        for name, peer in reference.peers.items():
            progress.at(0, Doing(case=case.id, mode=Mode.CHAINED, site=f"peer in {name}"))
            chained[name] = chained_values(reference, peer, prompt, case_inputs)
        # Not what emulated peers choose: of 8 bits no prompt would be left.
        as_torch = {name: values for name, values in chained.items() if not reference.policies[name].matmul}
        if refused and (problem := _flips(as_torch, oracle, real)):
            say(f"{case.id}: seed {seed} refused, {problem}; trying seed {seed + 1}")
            continue
        yield _Pass(seed, case_inputs, recorder, oracle, chained, margins, real)
    raise UnclearRoutingError(
        "no prompt seed gives clear routing",
        where=case.id,
        expected=f"a margin of at least {family.min_margin_x} bf16 eps at every decision",
        got=f"{MAX_SEEDS} seeds, all nearly tied",
        try_="another weight seed for the preset, or a stronger `steer` in the family's weight rules",
    )


def _steadied(ports: tuple[GoldenPort, ...]) -> tuple[GoldenPort, ...]:
    """No floor of a call below the rms of its port's floors over all calls: a step has too few values of its own."""
    lower_is_better = {name for name, metric in metrics().items() if metric.better == "lower"}
    drawn: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for port in ports:
        for (mode, policy, name), floor in _flat(port):
            drawn[port.site, port.port, mode, policy, name].append(floor)
    steadied = []
    for port in ports:
        floors: dict[str, dict[str, dict[str, float]]] = {}
        for (mode, policy, name), floor in _flat(port):
            of_all = drawn[port.site, port.port, mode, policy, name]
            rms = float(np.sqrt(np.mean(np.square(of_all)))) if name in lower_is_better else floor
            floors.setdefault(mode, {}).setdefault(policy, {})[name] = float(f"{max(floor, rms):.6g}")
        steadied.append(replace(port, floors=floors))
    return tuple(steadied)


def _flat(port: GoldenPort) -> list[tuple[tuple[str, str, str], float]]:
    return [
        ((mode, policy, name), floor)
        for mode, policies in port.floors.items()
        for policy, floors in policies.items()
        for name, floor in floors.items()
    ]


def _gradients(
    reference: Reference, prompt: Prompt, draws: list[CaseInputs], store: GoldenStore, first: int
) -> tuple[GoldenPort, ...]:
    """A port for the gradient by each weight, under the site `gradients`, on the first of the case inputs.

    Rounding that the whole pass shares moves all of a gradient alike, so that a peer's drift on one prompt is little
    more than one draw: the others steady the floors.
    """
    ports: dict[str, GoldenPort] = {}
    drawn: list[GoldenPort] = []
    for draw, case_inputs in enumerate(draws):
        with lifted():
            oracle = reference.gradients(reference.oracle, prompt, case_inputs)
        peers = {
            name: reference.gradients(model, prompt, case_inputs, policy.matmul)
            for name, (policy, model) in reference.peers.items()
        }
        for order, (name, gradient) in enumerate(oracle.items(), first):
            port = Port(f"out.{name}", Kind.FLOAT, "XYZ"[: gradient.ndim].replace("", " ").strip(), "", "")
            floors = {policy: _floor(port, gradient, values[name], None) for policy, values in peers.items()}
            if draw:
                drawn.append(replace(ports[name], call=draw, floors={Mode.GRADIENT: floors}))
                continue
            ports[name] = GoldenPort(
                site=GRADIENTS,
                port=port.name,
                call=0,
                kind=port.kind,
                layout=port.layout,
                order=order,
                tensor=store.put(gradient),
                modes=(Mode.GRADIENT,),
                dtypes={policy: peers[policy][name].dtype.name for policy in at_once(reference.policies)},
                floors={Mode.GRADIENT: floors},
            )
    return tuple(port for port in _steadied((*ports.values(), *drawn)) if port.call == 0)


def chained_values(reference: Reference, peer: Peer, prompt: Prompt, case_inputs: CaseInputs) -> Values:
    policy, model = peer
    values = reference.values(reference.run(model, prompt, case_inputs, policy.matmul), prompt, case_inputs)
    return {key: array for key, (_, _, array, _) in values.items()}


def isolated_values(
    reference: Reference, peer: Peer, prompt: Prompt, oracle: Recorder, case_inputs: CaseInputs
) -> Values:
    (policy, model), values = peer, Values()
    for site in reference.family.sites_for(reference.preset, prompt):
        outputs = [port for port in site.ports if not port.is_input]
        if Mode.ISOLATED not in site.modes or not any(port.kind is Kind.FLOAT for port in outputs):
            continue  # masks and choices have no noise floor
        inside = _choosing_inside(reference, site)
        calls, dtype = calls_of(site, oracle), getattr(torch, policy.peer)
        recorder = reference.isolated(model, site, calls, dtype, inside, policy.matmul)
        for ordinal, call in enumerate(recorder.calls[site.reference]):
            for port in outputs:
                values[site.name, port.name, ordinal] = value(port, site.name, call, case_inputs)[0]
        for inner in inside:
            for ordinal, call in enumerate(recorder.calls[inner.reference]):
                for port in (port for port in inner.ports if port.kind is Kind.INDEX and not port.is_input):
                    key = (f"{site.name}{INSIDE}{inner.name}", port.name, ordinal)
                    values[key] = value(port, inner.name, call, case_inputs)[0]
    return values


def _choosing_inside(reference: Reference, site: Site) -> list[Site]:
    """The sites inside `site` whose choices may flip when it is run alone."""
    if reference.preset.near_ties == "refused":
        return []
    return [inner for inner in inner_sites(site, reference.sites) if inner.decisions]


def _floor(port: Port, golden: np.ndarray, peer: np.ndarray | None, real: np.ndarray | None) -> dict[str, float]:
    if peer is None:
        raise HarnessError("peer has no value", where=port.name)
    measured = measure(golden, peer, kind=port.kind, role=port.role, layout=port.layout, real=real)
    if measured.problem:
        raise UsageError("peer cannot be compared with the oracle", where=port.name, got=measured.detail)
    return {name: float(f"{drift:.6g}") for name, drift in measured.metrics.items()}


def _margins(oracle: Traced, real: Real) -> dict[str, float]:
    """The smallest margin of each decision over real tokens, in units of the scores' rms."""
    margins = {}
    for (name, port_name, call), (port, site, values, _) in oracle.items():
        for decision in site.decisions:
            if decision.scores == port_name:
                k = oracle[name, decision.choice, call][2].shape[-1]
                rows = -np.sort(-real_rows(values, port.layout, real.of(site, call)), axis=-1)
                rms = float(np.sqrt(np.mean(rows**2)))
                margins[address(name, decision.choice, call)] = float(np.min(rows[:, k - 1] - rows[:, k])) / rms
    return margins


def _near_tie(margins: Mapping[str, float], min_margin_x: float) -> str:
    for name, margin in margins.items():
        if margin < min_margin_x * _BF16_EPS:
            return f"near tie at {name}: margin {margin / _BF16_EPS:.1f} bf16 eps, at least {min_margin_x:g} wanted"
    return ""


def _flips(chained: Mapping[str, Values], oracle: Traced, real: Real) -> str:
    for key, (port, site, values, _) in oracle.items():
        if port.kind is not Kind.INDEX or port.is_input:
            continue
        for name, peer in chained.items():
            kept = real.of(site, key[2])
            differs = real_rows(values, port.layout, kept) != real_rows(peer[key], port.layout, kept)
            if flips := int(differs.any(-1).sum()):
                return f"the reference in {name} chooses otherwise for {flips} tokens at {address(*key)}"
    return ""


def _paths(golden: Golden) -> str:
    """What a line says of how products of the peers' 16-bit dtypes were computed."""
    return ", ".join(f"{dtype} products {path}" for dtype, path in golden.provenance["low_precision_matmul"].items())


def _provenance(seed: int, reference: Reference) -> dict[str, Any]:
    return {
        "versions": {
            **{name: version(name) for name in ("torch", "transformers", "numpy")},
            "python": platform.python_version(),
        },
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "low_precision_matmul": dict(reference.products),
        "attention": "eager",
        "oracle": "float64, float32 islands lifted",
        "weights_seed": reference.preset.seed,
        "prompt_seed": seed,
    }
