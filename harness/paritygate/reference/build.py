"""The reference of one preset: built in float64 and in each peer's dtype, run whole or one module at a time."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from paritygate.catalog.select import policies
from paritygate.core.cell import DtypePolicy
from paritygate.core.errors import UsageError
from paritygate.core.family import Family, Preset, Prompt
from paritygate.core.golden import ProductPath
from paritygate.core.registry import load
from paritygate.core.site import Port, Site
from paritygate.reference import prompts
from paritygate.reference.emulated import Emulated
from paritygate.reference.hooks import Call, Calling, Recorder, tapped
from paritygate.reference.oracle import lifted
from paritygate.reference.photos import show
from paritygate.reference.products import multiplied, product_paths
from paritygate.reference.select import value
from paritygate.reference.tensors import cast, map_tensors, to_numpy, to_torch
from paritygate.reference.weights import draw

CaseInputs = Mapping[str, np.ndarray]
Key = tuple[str, str, int]  # site, port, call
Values = dict[Key, np.ndarray]  # in the golden's layout
Traced = dict[Key, tuple[Port, Site, np.ndarray, int]]  # with what it is and when it was produced

Peer = tuple[DtypePolicy, torch.nn.Module]

_ORACLE = "float64"


def with_peers() -> dict[str, DtypePolicy]:
    """The dtype policies of the catalog that have a peer of their own."""
    return {name: policy for name, policy in policies().items() if policy.peer and not policy.floor}


def at_once(found: Mapping[str, DtypePolicy]) -> dict[str, DtypePolicy]:
    """Those whose peer multiplies as torch does."""
    return {name: policy for name, policy in found.items() if not policy.matmul}


@dataclass
class Reference:
    """The reference of one preset in float64 and in every peer's dtype, with the same weights.

    The weights are drawn where none are given. `products` says by dtype how its peers multiply matrices. `policies` are
    those that have a peer here, by default all that have one of their own. Peers run on `device`, in torch's words; the
    oracle on the CPU always.
    """

    family: Family
    preset: Preset
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    products: Mapping[str, ProductPath] = field(default_factory=product_paths)
    policies: Mapping[str, DtypePolicy] = field(default_factory=with_peers)
    device: str = "cpu"

    def __post_init__(self):
        self.sites = self.sites or self.family.sites_of(self.preset)
        # Imported here, before any pass: a module that is imported while float32 means float64 keeps that meaning.
        self._build = load(self.family.reference.build)
        if not self.weights:
            meta = self._build(self.preset.config, None, "float32")
            shapes = {name: tuple(tensor.shape) for name, tensor in meta.state_dict().items()}
            self.weights = draw(self.family, self.preset, shapes)

    @cached_property
    def oracle(self) -> torch.nn.Module:
        with lifted():
            return self.build(_ORACLE)

    @cached_property
    def peers(self) -> dict[str, Peer]:
        """By policy; those that differ in how they multiply are one model."""
        dtypes = {policy.peer for policy in self.policies.values()}
        built = {dtype: self.build(dtype).to(self.device) for dtype in dtypes}
        return {name: (policy, built[policy.peer]) for name, policy in self.policies.items()}

    def build(self, dtype: str) -> torch.nn.Module:
        return self._build(self.preset.config, self.weights, dtype)

    def inputs(self, prompt: Prompt, seed: int) -> dict[str, np.ndarray]:
        """The case inputs of a prompt, its pictures as this preset's model is given them."""
        pictures = self.family.reference.pictures
        return prompts.inputs(prompt, seed, partial(show, load(pictures), self.preset.config) if pictures else None)

    def run(self, model: torch.nn.Module, prompt: Prompt, case_inputs: CaseInputs, matmul: str = "") -> Recorder:
        """The whole model on a prompt, piece by piece where it has pieces, every site recorded.

        Here and below, `matmul` names the arithmetic that matrix products are emulated in; empty for torch's own.
        """
        modules = {site.reference: model.get_submodule(site.reference) for site in self.sites}
        return self._record(model, modules, prompt, case_inputs, matmul)

    def computation(self, prompt: Prompt, case_inputs: CaseInputs) -> tuple[str, ...]:
        """What the oracle consists of on a prompt: see `Golden`."""
        with lifted():
            recorder = self._record(self.oracle, dict(self.oracle.named_modules()), prompt, case_inputs)
        found = set(recorder.calls)
        for path, calls in recorder.calls.items():
            found |= {f"{path}:{function}" for call in calls for function in call.functions}
        return tuple(sorted(found))

    def _multiplying(self, model: torch.nn.Module, matmul: str) -> AbstractContextManager[Any]:
        return Emulated(matmul, model.parameters()) if matmul else multiplied(_dtype(model), self.products)

    def _record(
        self,
        model: torch.nn.Module,
        modules: dict[str, torch.nn.Module],
        prompt: Prompt,
        case_inputs: CaseInputs,
        matmul: str = "",
    ) -> Recorder:
        side, recorder = self.family.reference, Recorder()
        fed, dtype = {}, _dtype(model)
        if prompt.pieces:
            fed[side.cache_name] = load(side.cache)(model)
        with torch.no_grad(), recorder.on(modules, side.functions), self._multiplying(model, matmul):
            for start, end in prompt.spans:
                piece = prompts.seen(case_inputs, start, end)
                given = prompt.given(side, start).items()
                model(**{name: to_torch(piece[key], dtype).to(_device(model)) for name, key in given}, **fed)
        return recorder

    def values(self, recorder: Recorder, prompt: Prompt, case_inputs: CaseInputs) -> Traced:
        """Every port's value in a recorded pass."""
        found: Traced = {}
        shown = {site.name for site in self.sites}
        for site in self.family.sites_for(self.preset, prompt):
            if site.name not in shown:
                continue
            calls = calls_of(site, recorder)
            if len(calls) != site.calls:
                raise UsageError(
                    "site was not run as often as its spec says",
                    where=site.name,
                    expected=f"{site.calls} calls of {site.function or site.reference or 'the model'}",
                    got=str(len(calls)),
                )
            for ordinal, call in enumerate(calls):
                piece = prompts.seen(case_inputs, *prompt.span(site, ordinal))
                for port in site.ports:
                    array, order = value(port, site.name, call, piece)
                    found[site.name, port.name, ordinal] = (port, site, array, order)
        return found

    def gradients(
        self, model: torch.nn.Module, prompt: Prompt, case_inputs: CaseInputs, matmul: str = ""
    ) -> dict[str, np.ndarray]:
        """The gradient of the prompt's `backward` output by each weight, in float64 where the model is.

        The weights are in the order in which the backward pass is done with them: nearest to the output first.
        """
        given, dtype = prompt.given(self.family.reference).items(), _dtype(model)
        arguments = {name: to_torch(case_inputs[key], dtype).to(_device(model)) for name, key in given}
        model.zero_grad()
        found: dict[str, np.ndarray] = {}

        def finished(name: str, weight: torch.Tensor) -> None:
            if weight.grad is not None:
                found[name] = to_numpy(weight.grad)

        hooks = [
            weight.register_post_accumulate_grad_hook(partial(finished, name))
            for name, weight in model.named_parameters()
        ]
        try:
            with self._multiplying(model, matmul):
                model(**arguments)[prompt.backward].backward()
        finally:
            for hook in hooks:
                hook.remove()
            model.zero_grad()
        if missing := self.weights.keys() - found.keys():
            raise UsageError("weights have no gradient", where=prompt.name, got=", ".join(sorted(missing)))
        return found

    def isolated(
        self,
        model: torch.nn.Module,
        site: Site,
        calls: list[Call],
        dtype: torch.dtype,
        inside: Iterable[Site] = (),
        matmul: str = "",
    ) -> Recorder:
        """The site's module of a peer, or its function, run on the oracle's arguments rounded to the peer's dtype.

        The sites `inside` it are recorded too.
        """
        module: Any = model.get_submodule(site.reference)
        recorder, rounded, functions = Recorder(), cast(dtype, _device(model)), self.family.reference.functions
        if site.function:
            module, functions = Calling(tapped(site.function, functions)), ()
        modules = {other.reference: model.get_submodule(other.reference) for other in inside}
        recorded = {site.reference: module} | modules
        with torch.no_grad(), recorder.on(recorded, functions), self._multiplying(model, matmul):
            for call in calls:
                module(*map_tensors(rounded, call.args), **map_tensors(rounded, call.kwargs))
        return recorder


def calls_of(site: Site, recorder: Recorder) -> list[Call]:
    """The recorded calls of a site's module, or of the function that it is."""
    calls = recorder.calls.get(site.reference, [])
    return [inner for call in calls for inner in call.functions[site.function]] if site.function else calls


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


def _dtype(model: torch.nn.Module) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")
