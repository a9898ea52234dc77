"""Switches one mechanism of a preset off in the reference: a golden that does not move cannot guard it."""

from dataclasses import replace
from functools import partial

import numpy as np

from paritygate.core.family import Mechanism
from paritygate.core.site import Kind, address
from paritygate.metrics.measure import measure
from paritygate.reference.build import Reference
from paritygate.reference.oracle import lifted
from paritygate.reference.overrides import changed_config, changed_weights, instead


def effect(reference: Reference, mechanism: Mechanism, seed: int) -> dict[str, float]:
    """How far each float output moves without the mechanism: address → rel-L2 of the float64 oracle to itself.

    `seed` is the prompt seed of the golden. Raises UsageError where the mechanism names nothing.
    """
    prompt = reference.family.prompt(mechanism.prompt)
    case_inputs = reference.inputs(prompt, seed)
    changed = {name: np.full_like(case_inputs[name], value) for name, value in mechanism.inputs.items()}
    changed |= {name: np.flip(case_inputs[name], axis) for name, axis in mechanism.reversed.items()}
    overrides = {path: instead(value) for path, value in mechanism.config.items()}
    constants = {pattern: partial(np.full_like, fill_value=value) for pattern, value in mechanism.weights.items()}
    preset = replace(reference.preset, config=changed_config(reference.preset.config, overrides, mechanism.name))
    without = Reference(reference.family, preset, changed_weights(reference.weights, constants, mechanism.name))
    # A site that exists only with the mechanism, such as a norm that is gone, has nothing to be compared with.
    paths = {path for path, _ in without.oracle.named_modules()}
    without.sites = [site for site in reference.sites if site.reference in paths]
    with lifted():
        golden = reference.values(reference.run(reference.oracle, prompt, case_inputs), prompt, case_inputs)
        other = without.values(without.run(without.oracle, prompt, case_inputs | changed), prompt, case_inputs)
    moved = {}
    for key, (port, site, array, _) in golden.items():
        if key not in other or port.is_input or port.kind is not Kind.FLOAT:
            continue
        real = case_inputs["attention_mask"]
        found = measure(array, other[key][2], kind=port.kind, role=port.role, layout=port.layout, real=real)
        if not found.problem:
            moved[address(site.name, port.name, key[2])] = found.metrics["rel_l2"]
    return moved
