"""Golden routing: every choice is the golden's, so that what is behind it drifts by rounding alone."""

import jax

from paritygate.core.site import Site, chosen, inner_sites
from paritygate.replay.bench import Bench
from paritygate.replay.observe import Place, place


def forced_alone(bench: Bench, site: Site, call: int) -> dict[Place, jax.Array]:
    """The golden's choices where a site that is run alone makes them."""
    if bench.routing == "own":
        return {}
    return {
        place(port, owner, 0, site.candidate): bench.argument(port, bench.golden(owner.name, port.name, call))
        for owner in [site, *inner_sites(site, bench.sites)]
        for port in chosen(owner)
    }


def forced(bench: Bench, piece: int) -> dict[Place, jax.Array]:
    """The golden's choices where a pass of the whole model makes them."""
    if bench.routing == "own":
        return {}
    return {
        place(port, site, call - bench.prompt.calls(site, piece).start, ""): bench.argument(
            port, bench.golden(site.name, port.name, call)
        )
        for site in bench.sites
        for port in chosen(site)
        for call in bench.prompt.calls(site, piece)
    }
