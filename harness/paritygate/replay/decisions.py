"""What the candidate chose in one replay: its flips, and over which tokens the values behind them are compared."""

from collections.abc import Sequence

import jax
import numpy as np

from paritygate.core.cell import Mode
from paritygate.core.decision import Decided
from paritygate.core.golden import GoldenPort
from paritygate.core.layout import parse
from paritygate.core.site import Kind, Port, Site, address
from paritygate.metrics.decisions import NEVER, by_token, decide, differing, first_slots, unreached
from paritygate.metrics.measure import measure
from paritygate.replay.bench import Bench

# One value of a pass: what it is compared with, its site and port, and what the candidate has there.
Value = tuple[GoldenPort, Site, Port, jax.Array | None]
# The order of a decision, and the first slot of each row at which it differs from the golden's.
First = tuple[int, np.ndarray]


class Choices:
    """The choices of one replay, as they are made; `decided` compares them by address.

    `within` is the site that is run alone, where one is.
    """

    def __init__(self, bench: Bench, mode: Mode, within: Site | None = None):
        self.bench, self.mode, self.within = bench, mode, within
        self.decided: dict[str, Decided] = {}
        self._flipped: list[First] = []
        self._of_peer: list[First] = []

    def add(self, values: Sequence[Value]) -> None:
        """The values of a pass, or of a piece of one."""
        by_address = {value[0].address: value for value in values}
        for golden, site, port, value in sorted(values, key=lambda value: value[0].order):
            if value is None:
                continue
            try:
                if golden.role == "logits":
                    self._top_token(golden, site, port, value)
                for decision in site.decisions:
                    if decision.choice == golden.port:
                        scores = by_address.get(address(site.name, decision.scores, golden.call))
                        self._choice(golden, site, port, value, scores)
            except ValueError:  # a value of another shape: it is a mismatch when it is measured
                continue

    def _choice(self, golden: GoldenPort, site: Site, port: Port, value: jax.Array, scores: Value | None) -> None:
        real, start = self.bench.real(site, golden.call), self.bench.prompt.span(site, golden.call)[0]
        wanted = by_token(self.bench.store.tensor(golden.tensor), golden.layout, real.shape)
        got = by_token(self.bench.laid_out(port, value, real), golden.layout, real.shape)
        ours, _, scored, theirs = scores or (golden, site, port, None)
        if theirs is not None:
            self.decided[golden.address] = decide(
                wanted,
                got,
                by_token(self.bench.store.tensor(ours.tensor), ours.layout, real.shape),
                by_token(self.bench.laid_out(scored, theirs, real), ours.layout, real.shape),
                real,
                port=ours.port,
                firsts=[first for _, first in self._flipped],
                start=start,
            )
        self._flipped.append((golden.order, first_slots(differing(wanted, got, real), start)))
        key = golden.address if self.within in (None, site) else f"{self.within.name}/{golden.address}"
        peer = self.bench.peer(self.mode, key)
        if peer is not None:
            peer = by_token(peer, golden.layout, real.shape)
            self._of_peer.append((golden.order, first_slots(differing(wanted, peer, real), start)))

    def _top_token(self, golden: GoldenPort, site: Site, port: Port, value: jax.Array) -> None:
        """The largest of each token's logits is a choice too, but nothing of the pass is computed from it."""
        real, start = self.bench.real(site, golden.call), self.bench.prompt.span(site, golden.call)[0]
        ours = by_token(self.bench.store.tensor(golden.tensor), golden.layout, real.shape)
        theirs = by_token(self.bench.laid_out(port, value, real), golden.layout, real.shape)
        self.decided[golden.address] = decide(
            ours.argmax(-1)[..., None],
            theirs.argmax(-1)[..., None],
            ours,
            theirs,
            real,
            port=golden.port,
            firsts=[first for _, first in self._flipped],
            start=start,
        )

    def unreached(self, golden: GoldenPort, real: np.ndarray) -> np.ndarray | None:
        """The tokens over which a value is compared; None where no choice before it flipped, or may have.

        Of the tokens of a golden that refuses near ties none is left out: there no right candidate flips one. Where the
        golden's choices are forced, none is either.
        """
        if not self.bench.manifest.peer_values or self.bench.routing == "golden" or golden.kind is not Kind.FLOAT:
            return None
        firsts = [
            first
            for order, first in (*self._flipped, *self._of_peer)
            if order < golden.order and (first != NEVER).any()
        ]
        if not firsts:
            return None
        letters = {letter for group in parse(golden.layout) for letter in group}
        if "B" not in letters or not letters & {"T", "S"}:
            return np.zeros_like(real)  # one number for all tokens
        start = self.bench.prompt.span(self.bench.site(golden.site), golden.call)[0]
        return unreached(real, firsts, start)

    def floors(self, golden: GoldenPort, left: np.ndarray) -> dict[str, float]:
        """The peer's drifts over the same tokens."""
        peer = self.bench.peer(self.mode, golden.address)
        if peer is None:
            return {}
        ours = self.bench.store.tensor(golden.tensor)
        found = measure(ours, peer, kind=golden.kind, role=golden.role, layout=golden.layout, real=left)
        return {name: float(f"{drift:.6g}") for name, drift in found.metrics.items()}
