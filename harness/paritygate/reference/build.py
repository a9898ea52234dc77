"""The reference of one preset: built in float64 and in each peer's dtype, run whole or one module at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from paritygate.catalog.select import policies
from paritygate.core.cell import DtypePolicy
from paritygate.core.errors import UsageError
from paritygate.core.family import Family, Preset
from paritygate.core.registry import load
from paritygate.core.site import Port, Site
from paritygate.reference.hooks import Call, Recorder
from paritygate.reference.oracle import lifted
from paritygate.reference.select import value
from paritygate.reference.tensors import cast, map_tensors, to_torch
from paritygate.reference.weights import draw

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
        return {
            name: (policy, self.build(policy.peer))
            for name, policy in policies().items()
            if policy.peer and not policy.roles
        }

    def build(self, dtype: str) -> torch.nn.Module:
        return load(self.family.reference.build)(self.preset.config, self.weights, dtype)

    def run(self, model: torch.nn.Module, case_inputs: Mapping[str, np.ndarray]) -> Recorder:
        """One forward pass of the whole model from tokens, every site recorded."""
        arguments = {name: to_torch(case_inputs[key]) for name, key in self.family.reference.inputs.items()}
        modules = {site.reference: model.get_submodule(site.reference) for site in self.sites}
        recorder = Recorder()
        with torch.no_grad(), recorder.on(modules, self.family.reference.functions):
            model(**arguments)
        return recorder

    def values(self, recorder: Recorder, case_inputs: Mapping[str, np.ndarray]) -> Traced:
        """Every port's value in a recorded pass."""
        found: Traced = {}
        for site in self.sites:
            calls = recorder.calls.get(site.reference, [])
            if len(calls) != site.calls:
                raise UsageError(
                    "site was not run as often as its spec says",
                    where=site.name,
                    expected=f"{site.calls} calls of {site.reference or 'the model'}",
                    got=str(len(calls)),
                )
            for ordinal, call in enumerate(calls):
                for port in site.ports:
                    array, order = value(port, site.name, call, case_inputs)
                    found[site.name, port.name, ordinal] = (port, site, array, order)
        return found

    def isolated(self, model: torch.nn.Module, site: Site, calls: list[Call], dtype: torch.dtype) -> list[Call]:
        """The site's module of a peer, run on the oracle's arguments rounded to the peer's dtype."""
        module = model.get_submodule(site.reference)
        recorder, rounded = Recorder(), cast(dtype)
        with torch.no_grad(), recorder.on({site.reference: module}, self.family.reference.functions):
            for call in calls:
                module(*map_tensors(rounded, call.args), **map_tensors(rounded, call.kwargs))
        return recorder.calls[site.reference]
