"""What the reference leaves open of a choice, and what a capture keeps where its peers choose otherwise."""

import numpy as np
import torch

from paritygate.core.cell import Mode
from paritygate.core.site import Decision, Kind, Port, Site
from paritygate.reference.decisions import PeerChoices

MASK = np.ones((1, 4), bool)
CHOICE, OUT = ("r", "out.choice", 0), ("r", "out", 0)
BEFORE, AROUND = ("n", "out", 0), ("m", "out", 0)
PORTS = {key: Port(key[1], Kind.FLOAT, "B T D", "", "") for key in (OUT, BEFORE, AROUND)}
PORTS[CHOICE] = Port("out.choice", Kind.INDEX, "(B T) J", "", "")


def peer(mode: Mode, *extra: tuple[str, str, int]) -> PeerChoices:
    """A peer that chooses otherwise at token 2, for values produced in the order norm, choice, router, block."""
    sites = {
        name: Site(name, name, name, (), decisions=(Decision("out.choice", "out"),) if name == "r" else ())
        for name in "nrm"
    }
    golden, got = np.zeros((4, 1), int), np.array([[0], [0], [1], [0]])
    orders = {BEFORE: 0, CHOICE: 1, OUT: 2, AROUND: 3}
    values = {key: got if key[1] == "out.choice" else np.zeros((1, 4, 2)) for key in (*orders, *extra)}
    oracle = {
        key: (PORTS[key], sites[key[0]], golden if key == CHOICE else np.zeros((1, 4, 2)), order)
        for key, order in orders.items()
    }
    return PeerChoices(mode, values, oracle, orders, MASK)


def test_the_reference_breaks_exact_ties_in_no_fixed_order():
    """Were it to, a port would have to do the same; see jax_llama4.moe and the decisions in judge/README."""
    random, won = np.random.default_rng(0), set()
    for _ in range(64):
        row = random.standard_normal(16)
        low, high = sorted(random.choice(16, 2, replace=False).tolist())
        row[[low, high]] = 8.0
        won.add(torch.topk(torch.from_numpy(row), 1).indices.item() == low)
    assert won == {True, False}


def test_floors_are_over_the_tokens_before_the_first_flip():
    choices = peer(Mode.CHAINED)
    assert choices.agreeing(BEFORE).tolist() == [[True] * 4]
    assert choices.agreeing(OUT).tolist() == choices.agreeing(AROUND).tolist() == [[True, True, False, False]]


def test_alone_only_the_choices_within_a_site_count():
    assert peer(Mode.ISOLATED).agreeing(AROUND).tolist() == [[True] * 4], "it gets the golden's router"
    inside = peer(Mode.ISOLATED, ("m/r", "out.choice", 0))
    assert inside.agreeing(AROUND).tolist() == [[True, True, False, False]]


def test_what_no_choice_precedes_is_not_kept():
    assert set(peer(Mode.CHAINED).kept()) == {CHOICE, OUT, AROUND}
    assert set(peer(Mode.ISOLATED).kept()) == {CHOICE, OUT}
    assert set(peer(Mode.ISOLATED, ("m/r", "out.choice", 0)).kept()) == {CHOICE, OUT, AROUND, ("m/r", "out.choice", 0)}
