"""Switches one mechanism of a preset off in the reference: a golden that does not move cannot guard it."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from paritygate.core.errors import UsageError
from paritygate.core.family import Mechanism
from paritygate.core.site import Kind, address
from paritygate.metrics.measure import measure
from paritygate.reference.build import Reference
from paritygate.reference.oracle import lifted


def effect(reference: Reference, mechanism: Mechanism, seed: int) -> dict[str, float]:
    """How far each float output moves without the mechanism: address → rel-L2 of the float64 oracle to itself.

    `seed` is the prompt seed of the golden. Raises UsageError where the mechanism names nothing.
    """
    prompt = reference.family.prompt(mechanism.prompt)
    case_inputs = reference.inputs(prompt, seed)
    changed = {name: np.full_like(case_inputs[name], value) for name, value in mechanism.inputs.items()}
    changed |= {name: np.flip(case_inputs[name], axis) for name, axis in mechanism.reversed.items()}
    preset = replace(reference.preset, config=_config(reference, mechanism))
    without = Reference(reference.family, preset, _weights(reference, mechanism))
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


def _config(reference: Reference, mechanism: Mechanism) -> Mapping[str, Any]:
    config = copy.deepcopy(dict(reference.preset.config))
    for path, value in mechanism.config.items():
        *parents, name = path.split(".")
        target = config
        for parent in parents:
            target = target[parent]
        if parents and name not in target:
            raise UsageError("mechanism overrides a key that is not there", where=mechanism.name, got=path)
        target[name] = value
    return config


def _weights(reference: Reference, mechanism: Mechanism) -> dict[str, np.ndarray]:
    weights = dict(reference.weights)
    for pattern, value in mechanism.weights.items():
        names = [name for name in weights if fnmatchcase(name, pattern)]
        if not names:
            raise UsageError("mechanism matches no weight", where=mechanism.name, got=pattern)
        weights |= {name: np.full_like(weights[name], value) for name in names}
    return weights
