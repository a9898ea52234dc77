"""Peers that choose otherwise than the oracle: over which tokens their floors are taken, and what is kept of them.

Only for presets whose routing may be nearly tied. Reads and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paritygate.core.cell import Mode
from paritygate.core.site import Kind
from paritygate.metrics.decisions import by_token, differing, first_slots, unreached
from paritygate.reference.build import Key, Traced, Values

# A choice made within a site that is run alone is filed under the site `WITHIN/SITE`.
INSIDE = "/"


@dataclass(frozen=True)
class PeerChoices:
    """The choices of one peer in one mode, beside the oracle's; `mask` (Bool, B T) says which tokens are real."""

    mode: Mode
    values: Values
    oracle: Traced
    orders: Mapping[Key, int]
    mask: np.ndarray

    def agreeing(self, key: Key) -> np.ndarray:
        """The real tokens that no flip before a value can have reached."""
        firsts = [
            first_slots(differing(self._by_token(of, self.oracle[of][2]), self._by_token(of, array), self.mask))
            for of, array in self._before(key).items()
        ]
        return unreached(self.mask, firsts)

    def kept(self) -> list[Key]:
        """The values that a replay may have to take floors of anew: choices, and what may be computed from one."""
        choices = {_owned(key) for key in self.values if _owned(key) in _choices(self.oracle)}
        return [key for key in self.values if _owned(key) in choices or (self._float(key) and self._before(key))]

    def _before(self, key: Key) -> Values:
        """By its key in the oracle, each choice of the pass that the value was produced after."""
        found: Values = {}
        for other, array in self.values.items():
            within, owned = other[0].partition(INSIDE)[0], _owned(other)
            if owned not in _choices(self.oracle) or self.orders[owned] >= self.orders[_owned(key)]:
                continue
            if self.mode is Mode.CHAINED or within == key[0]:
                found[owned] = array
        return found

    def _float(self, key: Key) -> bool:
        return INSIDE not in key[0] and self.oracle[key][0].kind is Kind.FLOAT

    def _by_token(self, key: Key, array: np.ndarray) -> np.ndarray:
        return by_token(array, self.oracle[key][0].layout, self.mask.shape)


def _owned(key: Key) -> Key:
    return (key[0].rpartition(INSIDE)[2], *key[1:])


def _choices(oracle: Traced) -> set[Key]:
    return {key for key, (port, site, _, _) in oracle.items() if port.name in {d.choice for d in site.decisions}}
