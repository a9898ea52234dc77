"""What the reference computes under each hypothesis: the float64 oracle, changed and run on a golden's inputs again."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from paritygate.core.cell import Mode
from paritygate.core.errors import UsageError
from paritygate.core.family import Family, Preset, Prompt
from paritygate.core.hypothesis import Hypothesis
from paritygate.core.registry import load
from paritygate.core.site import Site
from paritygate.reference.build import CaseInputs, Reference, Values, calls_of
from paritygate.reference.hooks import Call, Recorder, replaced
from paritygate.reference.oracle import lifted
from paritygate.reference.overrides import (
    changed_config,
    changed_weights,
    exchanged_weights,
    instead,
    operation,
    shifted_inputs,
)
from paritygate.reference.prompts import seen
from paritygate.reference.select import value


class Counterfactuals:
    """The reference of one case, run under one hypothesis after another on the golden's inputs and weights."""

    def __init__(
        self, family: Family, preset: Preset, prompt: Prompt, case_inputs: CaseInputs, weights: dict[str, np.ndarray]
    ):
        torch.set_num_threads(1)  # as at capture
        self._golden = Reference(family, preset, weights)
        self._prompt, self._inputs = prompt, case_inputs

    def hypotheses(self) -> list[Hypothesis]:
        """Those of the family that concern a site of this case and whose needs its preset meets."""
        family, preset = self._golden.family, self._golden.preset
        sites = [site.name for site in family.sites_for(preset, self._prompt)]
        return [each for each in family.hypotheses if any(map(each.concerns, sites)) and _meets(preset, each)]

    def values(self, hypothesis: Hypothesis, mode: Mode, site: str) -> Values:
        """What the reference shows if it is so: everything chained, or `site` alone on the golden's inputs.

        What is not there under the hypothesis, such as the result of a norm that is gone, is left out.
        Raises UsageError, naming the hypothesis, where it names nothing or where the reference cannot be run under it.
        """
        where = f"hypothesis {hypothesis.name!r}"
        preset = replace(self._golden.preset, config=_config(self._golden.preset, hypothesis, where))
        weights = _weights(self._golden.weights, hypothesis, where)
        case_inputs = shifted_inputs(self._inputs, hypothesis.inputs, hypothesis.reversed, where)
        calls = self._calls(site) if mode is Mode.ISOLATED else []
        with lifted(), replaced(_functions(hypothesis, where)):
            try:
                changed = Reference(self._golden.family, preset, weights)
                paths = {path for path, _ in changed.oracle.named_modules()}
                changed.sites = [each for each in self._golden.sites if each.reference in paths]
                if mode is Mode.ISOLATED:
                    found = {
                        each: changed.isolated(changed.oracle, each, calls, torch.float64).calls[each.reference]
                        for each in changed.sites
                        if each.name == site
                    }
                else:
                    recorder = changed.run(changed.oracle, self._prompt, case_inputs)
                    found = {each: calls_of(each, recorder) for each in changed.sites}
            except Exception as reason:  # what a change makes of the reference's code may be anything
                got = f"{type(reason).__name__}: {reason}"[:400]
                raise UsageError("the reference cannot be run under a hypothesis", where=where, got=got) from reason
        return self._shown(found)

    @cached_property
    def _recorded(self) -> Recorder:
        with lifted():
            return self._golden.run(self._golden.oracle, self._prompt, self._inputs)

    def _calls(self, name: str) -> list[Call]:
        return next(calls_of(site, self._recorded) for site in self._golden.sites if site.name == name)

    def _shown(self, calls: Mapping[Site, list[Call]]) -> Values:
        """The values of all outputs and inner ports in recorded calls."""
        found: Values = {}
        of_name = {site.name: site for site in calls}
        for site in self._golden.family.sites_for(self._golden.preset, self._prompt):
            if site.name not in of_name:
                continue
            for ordinal, call in enumerate(calls[of_name[site.name]][: site.calls]):
                piece = seen(self._inputs, *self._prompt.span(site, ordinal))
                for port in (port for port in site.ports if not port.is_input):
                    try:
                        found[site.name, port.name, ordinal] = value(port, site.name, call, piece)[0]
                    except UsageError:  # a tapped function that is not called any more
                        continue
        return found


def _meets(preset: Preset, hypothesis: Hypothesis) -> bool:
    for path, wanted in hypothesis.needs.items():
        found: Any = preset.config
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found != wanted:
            return False
    return True


def _config(preset: Preset, hypothesis: Hypothesis, where: str) -> dict[str, Any]:
    changes: dict[str, Callable[[Any], Any]] = {path: instead(new) for path, new in hypothesis.config.items()}
    changes |= {path: lambda old, by=by: old * by for path, by in hypothesis.scaled.items()}
    changes |= {path: lambda old, by=by: old + by for path, by in hypothesis.shifted.items()}
    return changed_config(preset.config, changes, where)


def _weights(weights: dict[str, np.ndarray], hypothesis: Hypothesis, where: str) -> dict[str, np.ndarray]:
    changes = {pattern: operation(name, where) for pattern, name in hypothesis.weights.items()}
    found = changed_weights(weights, changes, where)
    for pattern, part, other in hypothesis.exchanged:
        found = exchanged_weights(found, pattern, part, other, where)
    for name, source in hypothesis.copied.items():
        if not {name, source} <= weights.keys():
            raise UsageError("override matches no weight", where=where, got=f"{name} from {source}")
        found[name] = weights[source]
    return found


def _functions(hypothesis: Hypothesis, where: str) -> dict[str, Callable[..., Any]]:
    try:
        for dotted in hypothesis.functions:
            load(dotted)
        return {dotted: load(function) for dotted, function in hypothesis.functions.items()}
    except UsageError as reason:
        raise UsageError("hypothesis names code that is not there", where=where, got=reason.where) from reason
