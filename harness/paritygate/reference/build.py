"""The reference of one preset: built in float64 and in each peer's dtype, run whole or one module at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from paritygate.catalog.select import policies
from paritygate.core.cell import DtypePolicy
from paritygate.core.errors import UsageError
from paritygate.core.family import Family, Preset, Prompt
from paritygate.core.registry import load
from paritygate.core.site import Port, Site
from paritygate.reference import prompts
from paritygate.reference.hooks import Call, Recorder
from paritygate.reference.oracle import lifted
from paritygate.reference.select import value
from paritygate.reference.tensors import cast, map_tensors, to_numpy, to_torch
from paritygate.reference.weights import draw

CaseInputs = Mapping[str, np.ndarray]
Key = tuple[str, str, int]  # site, port, call
Values = dict[Key, np.ndarray]  # in the golden's layout
Traced = dict[Key, tuple[Port, Site, np.ndarray, int]]  # with what it is and when it was produced

_ORACLE = "float64"


@dataclass
class Reference:
    """The reference of one preset in float64 and in every peer's dtype, with the same weights.

    The weights are drawn where none are given.
    """

    family: Family
    preset: Preset
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)

    def __post_init__(self):
        self.sites = self.sites or self.family.sites_of(self.preset)
        if not self.weights:
            meta = load(self.family.reference.build)(self.preset.config, None, "float32")
            shapes = {name: tuple(tensor.shape) for name, tensor in meta.state_dict().items()}
            self.weights = draw(self.family, self.preset, shapes)

    @cached_property
    def oracle(self) -> torch.nn.Module:
        with lifted():
            return self.build(_ORACLE)

    @cached_property
    def peers(self) -> dict[str, tuple[DtypePolicy, torch.nn.Module]]:
        return {name: (policy, self.build(policy.peer)) for name, policy in policies().items() if policy.peer}

    def build(self, dtype: str) -> torch.nn.Module:
        return load(self.family.reference.build)(self.preset.config, self.weights, dtype)

    def run(self, model: torch.nn.Module, prompt: Prompt, case_inputs: CaseInputs) -> Recorder:
        """The whole model on a prompt, piece by piece where it has pieces, every site recorded."""
        side, recorder = self.family.reference, Recorder()
        modules = {site.reference: model.get_submodule(site.reference) for site in self.sites}
        fed = {}
        if prompt.pieces:
            fed[side.cache_name] = load(side.cache)(model)
        with torch.no_grad(), recorder.on(modules, side.functions):
            for start, end in prompt.spans:
                piece = prompts.seen(case_inputs, start, end)
                model(**{name: to_torch(piece[key]) for name, key in prompt.given(side).items()}, **fed)
        return recorder

    def values(self, recorder: Recorder, prompt: Prompt, case_inputs: CaseInputs) -> Traced:
        """Every port's value in a recorded pass."""
        found: Traced = {}
        shown = {site.name for site in self.sites}
        for site in self.family.sites_for(self.preset, prompt):
            if site.name not in shown:
                continue
            calls = recorder.calls.get(site.reference, [])
            if len(calls) != site.calls:
                raise UsageError(
                    "site was not run as often as its spec says",
                    where=site.name,
                    expected=f"{site.calls} calls of {site.reference or 'the model'}",
                    got=str(len(calls)),
                )
            for ordinal, call in enumerate(calls):
                piece = prompts.seen(case_inputs, *prompt.span(ordinal, site.calls))
                for port in site.ports:
                    array, order = value(port, site.name, call, piece)
                    found[site.name, port.name, ordinal] = (port, site, array, order)
        return found

    def gradients(self, model: torch.nn.Module, prompt: Prompt, case_inputs: CaseInputs) -> dict[str, np.ndarray]:
        """The gradient of the prompt's `backward` output by each weight, in float64 where the model is."""
        arguments = {name: to_torch(case_inputs[key]) for name, key in self.family.reference.inputs.items()}
        model.zero_grad()
        model(**arguments)[prompt.backward].backward()
        found = {name: to_numpy(weight.grad) for name, weight in model.named_parameters() if weight.grad is not None}
        model.zero_grad()
        if missing := self.weights.keys() - found.keys():
            raise UsageError("weights have no gradient", where=prompt.name, got=", ".join(sorted(missing)))
        return found

    def isolated(self, model: torch.nn.Module, site: Site, calls: list[Call], dtype: torch.dtype) -> list[Call]:
        """The site's module of a peer, run on the oracle's arguments rounded to the peer's dtype."""
        module = model.get_submodule(site.reference)
        recorder, rounded = Recorder(), cast(dtype)
        with torch.no_grad(), recorder.on({site.reference: module}, self.family.reference.functions):
            for call in calls:
                module(*map_tensors(rounded, call.args), **map_tensors(rounded, call.kwargs))
        return recorder.calls[site.reference]
