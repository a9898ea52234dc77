"""Writes into goldens that are there what their reference consists of, and in which order it is done with gradients.

Tensors and floors stay as they are.
"""

from collections.abc import Callable
from dataclasses import replace

from paritygate.catalog.select import families, spec_hash
from paritygate.core.errors import GoldenError
from paritygate.core.family import Case
from paritygate.core.golden import GRADIENTS, Golden, GoldenPort
from paritygate.core.progress import SILENT, Doing, Piece, Progress
from paritygate.reference.build import Reference
from paritygate.reference.oracle import lifted
from paritygate.store.golden import GoldenStore


def describe(
    cases: list[Case], suite: str, store: GoldenStore, say: Callable[[str], None], progress: Progress = SILENT
) -> list[Golden]:
    """Runs each case's reference on the golden's own weights and inputs and rewrites its manifest.

    Raises GoldenError where a golden is missing, damaged or of another spec.
    """
    known, goldens = families(), []
    store.require(suite, [case.id for case in cases])
    progress.planned([[Piece("", case.id, 1) for case in cases]], noun="cases")
    with store.lock(exclusive=False):
        for case in cases:
            progress.at(0, Doing(case=case.id))
            family, golden = known[case.family], store.read(suite, case.id)
            if golden.spec != (expected := spec_hash(case, family)):
                raise GoldenError(
                    "golden is stale: its spec is not what the catalog says today",
                    where=f"{suite}/{case.id}",
                    expected=expected[:12],
                    got=golden.spec[:12],
                    try_=f"paritygate capture {case.id}",
                )
            weights = {name: store.tensor(ref) for name, ref in golden.weights.items()}
            inputs = {name: store.tensor(ref) for name, ref in golden.inputs.items()}
            reference = Reference(family, family.preset(case.preset), weights)
            prompt = family.prompt(case.prompt)
            described = replace(golden, computation=reference.computation(prompt, inputs))
            if prompt.backward:
                with lifted():
                    names = list(reference.gradients(reference.oracle, prompt, inputs))
                described = replace(described, ports=_in_order(golden.ports, names))
            store.write(suite, described)
            goldens.append(described)
            progress.done(0, "", case.id)
            say(f"{case.id}: {len(described.computation)} modules and functions")
    return goldens


def _in_order(ports: tuple[GoldenPort, ...], names: list[str]) -> tuple[GoldenPort, ...]:
    """The same ports, the gradients in the order of the weights' `names`."""
    first = min(port.order for port in ports if port.site == GRADIENTS)
    orders = {f"out.{name}": order for order, name in enumerate(names, first)}
    moved = (replace(port, order=orders[port.port]) if port.site == GRADIENTS else port for port in ports)
    return tuple(sorted(moved, key=lambda port: port.order))
