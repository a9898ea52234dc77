"""How far the reference's harmless variants are from the oracle: the evidence for limits.

Reads goldens, those of other seeds captured into a folder that is thrown away. Writes nothing else.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from paritygate.catalog.reseed import reseeded
from paritygate.catalog.select import families
from paritygate.core.budget import Draw
from paritygate.core.cell import Mode
from paritygate.core.errors import UnclearRoutingError, unknown_name
from paritygate.core.family import Case, Family, Prompt
from paritygate.core.golden import GRADIENTS, GoldenPort
from paritygate.core.progress import SILENT, Doing, Piece, Progress
from paritygate.core.site import Kind, Port
from paritygate.metrics.base import metrics, unit_roundoff
from paritygate.metrics.measure import measure
from paritygate.reference.build import CaseInputs, Key, Reference, at_once, with_peers
from paritygate.reference.capture import Real, capture, chained_values, isolated_values
from paritygate.reference.oracle import lifted
from paritygate.reference.variants import AS_IT_IS, Variant, variants_of
from paritygate.store.golden import GoldenStore

ANOTHER_SEED = "another seed"

Found = tuple[str, str, str, int, Port, np.ndarray, np.ndarray, np.ndarray | None]


def variant_names(suites: Mapping[str, Sequence[Case]], names: Sequence[str]) -> list[str]:
    """The variants of `names`, or all that the families of the cases have; raises UsageError on one that none has."""
    known = families()
    chosen = {case.family for cases in suites.values() for case in cases}
    offered = list(dict.fromkeys(name for family in sorted(chosen) for name in variants_of(known[family])))
    for name in names:
        if name not in offered:
            raise unknown_name("variant", name, offered)
    return list(names) or offered


def fits(case: Case) -> bool:
    """Whether limits are fitted to a case: not where the reference itself, in low precision, may choose otherwise."""
    return families()[case.family].preset(case.preset).near_ties == "refused"


def draws(
    suites: Mapping[str, list[Case]],
    store: GoldenStore,
    names: Sequence[str],
    seeds: int,
    say: Callable[[str], None],
    progress: Progress = SILENT,
) -> Iterator[Draw]:
    """The variants of `names` on the golden of every case; a suite that has no goldens is captured.

    On `seeds` - 1 other draws of weights and tokens there is one more, `ANOTHER_SEED`: the peer as it is, beside the
    floor of the golden. Chained and in gradients, where its inputs are rounded otherwise, a right port's drift is
    another draw than the floor, as that one is. Alone, a site has the peer's own inputs, and its drift is nearly the
    peer's. Raises GoldenError where the golden of a case is missing.
    """
    torch.set_num_threads(1)
    known = families()
    chosen = {name: known[name] for name in {case.family for cases in suites.values() for case in cases}}
    every = [case for cases in suites.values() for case in cases]
    rounds = [text for seed in range(seeds) for text in ([f"capture {seed}"] if seed else []) + [f"seed {seed}"]]
    progress.planned([[Piece(text, case.id, 1) for text in rounds for case in every]], noun="steps")
    with TemporaryDirectory() as folder:
        first: dict[str, dict[Key, GoldenPort]] = {}
        for seed in range(seeds):
            drawn = {name: reseeded(family, seed) for name, family in chosen.items()}
            for suite, cases in suites.items():
                captured = bool(seed) or suite not in store.suites()
                place = GoldenStore(Path(folder) / str(seed)) if captured else store
                if captured:
                    cases = _captured(cases, suite, place, drawn, seed, say, progress)
                used = [AS_IT_IS] if seed else names
                for case, draw in _of_suite(seed, suite, cases, place, drawn, used, first, say, progress):
                    if not seed:
                        yield draw
                    elif draw.mode != Mode.ISOLATED and not metrics()[draw.metric].absolute:
                        # What is in a value's own units is as large as the values of its seed.
                        floors = first[case.id][draw.site, draw.port, draw.call].floors[draw.mode][draw.dtype]
                        floor = metrics()[draw.metric].drift(floors[draw.metric])
                        yield replace(draw, variant=ANOTHER_SEED, floor=floor)


def _captured(
    cases: list[Case],
    suite: str,
    store: GoldenStore,
    known: dict[str, Family],
    seed: int,
    say: Callable[[str], None],
    progress: Progress,
) -> list[Case]:
    """The cases of which a golden could be captured: a seed's weights may leave no prompt of one without a near tie."""
    done = []
    for case in cases:
        progress.at(0, Doing(cell=f"capture {seed}", case=case.id))
        try:
            capture([case], suite, store, lambda line: None, known, policies=at_once(with_peers()))
        except UnclearRoutingError as reason:
            say(f"seed {seed}  {case.id}: left out, {reason.what}")
            progress.done(0, f"seed {seed}", case.id)
        else:
            done.append(case)
        progress.done(0, f"capture {seed}", case.id)
    return done


def _of_suite(
    seed: int,
    suite: str,
    cases: list[Case],
    store: GoldenStore,
    known: dict[str, Family],
    names: Sequence[str],
    first: dict[str, dict[Key, GoldenPort]],
    say: Callable[[str], None],
    progress: Progress,
) -> Iterator[tuple[Case, Draw]]:
    """The draws of one suite and seed; the ports of the goldens of seed 0 are left in `first`."""
    references: dict[tuple[str, str], Reference] = {}
    for case in cases:
        family, key = known[case.family], (case.family, case.preset)
        if key not in references:
            references[key] = Reference(family, family.preset(case.preset), policies=at_once(with_peers()))
        golden, count = store.read(suite, case.id), 0
        ports = {(port.site, port.port, port.call): port for port in golden.ports}
        if seed == 0:
            first[case.id] = ports
        case_inputs = {name: store.tensor(ref) for name, ref in golden.inputs.items()}
        for name, variant in variants_of(family).items():
            if name not in names:
                continue
            progress.at(0, Doing(cell=f"seed {seed}", case=case.id, mode=name))
            for found in _values(references[key], family.prompt(case.prompt), variant, case_inputs):
                for draw in _measured(seed, case.id, ports, name, found):
                    count += 1
                    yield case, draw
        say(f"seed {seed}  {case.id}: {count:,} draws")
        progress.done(0, f"seed {seed}", case.id)


def _values(reference: Reference, prompt: Prompt, variant: Variant, case_inputs: CaseInputs) -> Iterator[Found]:
    """Policy, mode, site, call, port, the oracle's value, the variant's, and which tokens are real."""
    given = variant.inputs(case_inputs)
    real = Real(prompt, given["attention_mask"])
    with lifted():
        recorder = reference.run(reference.oracle, prompt, given)
        gradients = reference.gradients(reference.oracle, prompt, given) if prompt.backward else {}
    oracle = reference.values(recorder, prompt, given)
    for name, peer in reference.peers.items():
        with variant.run(reference.family):
            found = {
                Mode.CHAINED: chained_values(reference, peer, prompt, given),
                Mode.ISOLATED: isolated_values(reference, peer, prompt, recorder, given),
            }
            of_weights = reference.gradients(peer[1], prompt, given) if prompt.backward else {}
        for (site_name, port_name, call), (port, site, array, _) in oracle.items():
            if port.kind is Kind.FLOAT and not port.is_input:
                for mode in (mode for mode in found if mode in site.modes):
                    value = found[mode][site_name, port_name, call]
                    yield name, mode, site_name, call, port, array, value, real.of(site, call)
        for weight, array in gradients.items():
            port = Port(f"out.{weight}", Kind.FLOAT, "XYZ"[: array.ndim].replace("", " ").strip(), "", "")
            yield name, Mode.GRADIENT, GRADIENTS, 0, port, array, of_weights[weight], None


def _measured(seed: int, case: str, ports: Mapping[Key, GoldenPort], variant: str, found: Found) -> Iterator[Draw]:
    policy, mode, site, call, port, array, value, real = found
    accepted = ports[site, port.name, call]
    measured = measure(array, value, kind=port.kind, role=port.role, layout=port.layout, real=real)
    for name, metric in metrics().items():
        if name not in measured.metrics or name not in accepted.floors[mode][policy]:
            continue
        unit = unit_roundoff(accepted.dtypes[policy]) * (measured.scale if metric.absolute else 1.0)
        drift, floor = metric.drift(measured.metrics[name]), metric.drift(accepted.floors[mode][policy][name])
        yield Draw(
            seed, case, variant, policy, mode, site, port.name, call,
            math.prod(array.shape), name, drift, floor, unit,
        )  # fmt: skip
