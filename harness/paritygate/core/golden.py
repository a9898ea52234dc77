"""An accepted capture of one case: tensors by content address, noise floors, provenance."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from paritygate.core.cell import Mode
from paritygate.core.codec import canonical, to_json
from paritygate.core.family import Case
from paritygate.core.site import Kind, address

GOLDEN_FORMAT = 1

# The site of the gradients by weight: one port a weight, `out.NAME`.
GRADIENTS = "gradients"

# How peers multiply matrices of a 16-bit dtype: by torch's own kernels, or in float32 and rounded once; and what may be
# asked for.
ProductPath = Literal["native", "upcast"]
LowPrecision = Literal["auto", "native", "upcast"]


@dataclass(frozen=True)
class TensorRef:
    """A tensor in the object store: `object` is the sha256 of its file; dtype and shape are repeated for review."""

    object: str
    dtype: str
    shape: tuple[int, ...]


# mode → dtype policy → metric → drift of the peer from the oracle
Floors = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class GoldenPort:
    """The oracle's value at one port and call.

    `order` counts values as the reference produced them. `dtypes` is, by dtype policy, the dtype that the peer has
    here, and so what a cell's candidate must have. `floors` are those of the peers on the CPU that captured the golden,
    `floors_on`, by platform, of peers that ran elsewhere; where a platform has none, the CPU's stand in.
    """

    site: str
    port: str
    call: int
    kind: Kind
    layout: str
    order: int
    tensor: TensorRef
    modes: tuple[Mode, ...]
    role: str = ""
    dtypes: Mapping[str, str] = field(default_factory=dict)
    floors: Floors = field(default_factory=dict)
    floors_on: Mapping[str, Floors] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return address(self.site, self.port, self.call)

    def floor(self, mode: str, policy: str, platform: str) -> Mapping[str, float]:
        """The drifts of a policy's peer, of the one on the platform where that was captured; empty without a peer."""
        own, cpu = (sides.get(mode, {}).get(policy, {}) for sides in (self.floors_on.get(platform, {}), self.floors))
        return own or cpu

    @property
    def is_input(self) -> bool:
        return self.port.startswith("in.")


@dataclass(frozen=True)
class Golden:
    """The manifest of one case.

    `inputs` are the case inputs (`tokens`, `attention_mask`, ...); `weights` the reference's state dict; `margins` the
    smallest margin of each decision, in units of the scores' rms; `provenance` versions, flags, seeds and hashes, and
    under `low_precision_matmul` the `ProductPath` by 16-bit dtype: all `native` where it says nothing.
    `peers` is the torch dtype by dtype policy that floors were measured in. `spec` is the hash of what the family says
    of the case: a golden of another spec is stale. `digest` is the sha256 of the manifest without it, set when written.

    `computation` is what the reference consists of on the case's inputs: the paths of the modules that run, and
    `PATH:FUNCTION` for each tapped function that one calls. A manifest without it says nothing of its coverage.
    `peer_values` are, where choices may be nearly tied, the peers' values: by mode, dtype policy and address, so that
    floors can be taken over the tokens that agree. `SITE/ADDRESS` is a choice made within a site that is run alone.
    """

    case: Case
    config: Mapping[str, Any]
    inputs: Mapping[str, TensorRef]
    weights: Mapping[str, TensorRef]
    ports: tuple[GoldenPort, ...]
    margins: Mapping[str, float]
    provenance: Mapping[str, Any]
    spec: str
    peers: Mapping[str, str] = field(default_factory=dict)
    computation: tuple[str, ...] = ()
    peer_values: Mapping[str, Mapping[str, Mapping[str, TensorRef]]] = field(default_factory=dict)
    format: int = GOLDEN_FORMAT
    digest: str = ""

    def has_floors_on(self, platform: str, policy: str) -> bool:
        """Whether a peer of the policy was captured on the platform."""
        return any(policy in sides for port in self.ports for sides in port.floors_on.get(platform, {}).values())

    def content_digest(self) -> str:
        content = to_json(replace(self, digest=""))
        if not self.computation:
            del content["computation"]  # it may be filled in later, in a manifest whose digest knows no such field
        if not self.peer_values:
            del content["peer_values"]
        for port in content["ports"]:
            if not port["floors_on"]:
                del port["floors_on"]  # of a later day too
        return hashlib.sha256(canonical(content).encode()).hexdigest()
