"""Prompts in pieces: what each piece is given, and floors that single steps cannot push to zero by luck."""

from dataclasses import replace
from math import sqrt

import numpy as np

from paritygate.core.golden import GoldenPort, TensorRef
from paritygate.core.site import Kind
from paritygate.reference import prompts
from paritygate.reference.capture import _gradients, _steadied
from paritygate.reference.oracle import lifted
from paritygate.store.golden import GoldenStore


def test_a_piece_sees_its_own_tokens_and_the_mask_of_all_slots_so_far():
    inputs = {"tokens": np.arange(10).reshape(2, 5), "attention_mask": np.ones((2, 5), bool), "slots": np.arange(5)}
    piece = prompts.seen(inputs, 2, 4)
    assert piece["tokens"].tolist() == [[2, 3], [7, 8]]
    assert piece["slots"].tolist() == [2, 3]
    assert piece["attention_mask"].shape == (2, 4)


def step(call, rel_l2, cosine):
    floors = {"chained": {"f32": {"rel_l2": rel_l2, "cosine": cosine}}}
    return GoldenPort(
        "a", "out", call, Kind.FLOAT, "B T D", call, TensorRef("0" * 64, "float64", (1,)), (), floors=floors
    )


def test_no_floor_is_below_the_rms_over_the_pieces():
    ports = _steadied((step(0, 3.0, 0.5), step(1, 4.0, 0.9), step(2, 0.0, 1.0)))
    rms = float(f"{sqrt((9 + 16) / 3):.6g}")
    assert [port.floors["chained"]["f32"]["rel_l2"] for port in ports] == [3.0, 4.0, rms]
    assert [port.floors["chained"]["f32"]["cosine"] for port in ports] == [0.5, 0.9, 1.0]


def test_the_reference_through_its_cache_is_the_reference_without(reference):
    """Prefill, steps and continuation give the whole pass's logits, so the cached golden is no other computation."""
    from paritygate.metrics.measure import measure

    subject = reference("tiny-scout")
    prompt = subject.family.prompt("decode-padded")
    whole = replace(prompt, pieces=(), cache="")
    inputs = prompts.inputs(prompt, 0)
    with lifted():
        cached = subject.values(subject.run(subject.oracle, prompt, inputs), prompt, inputs)
        at_once = subject.values(subject.run(subject.oracle, whole, inputs), whole, inputs)
    pieces = [cached["lm_head", "out", call][2] for call in range(len(prompt.pieces))]
    found = measure(
        at_once["lm_head", "out", 0][2],
        np.concatenate(pieces, axis=1),
        kind=Kind.FLOAT,
        role="logits",
        layout="B T V",
        real=inputs["attention_mask"],
    )
    assert found.problem == ""
    assert found.metrics["rel_l2"] <= 1e-12


def test_the_floor_of_a_gradient_is_at_least_the_rms_over_the_draws(tmp_path, reference):
    """On one prompt a peer's gradient may be right by luck; what is kept of the other prompts is their floors only."""
    subject = reference("tiny-vision")
    prompt = replace(subject.family.prompt("frames"), backward="loss")
    draws = [subject.inputs(prompt, seed) for seed in range(3)]
    store = GoldenStore(tmp_path)
    alone = [_gradients(subject, prompt, [draw], store, 7) for draw in draws]
    together = _gradients(subject, prompt, draws, store, 7)
    assert [port.order for port in together] == list(range(7, 7 + len(subject.weights)))
    for port, *each in zip(together, *alone, strict=True):
        assert (port.tensor, port.call) == (each[0].tensor, 0)
        floors = [one.floors["gradient"]["f32"]["rel_l2"] for one in each]
        expected = max(floors[0], sqrt(sum(floor**2 for floor in floors) / len(floors)))
        assert port.floors["gradient"]["f32"]["rel_l2"] == float(f"{expected:.6g}"), port.port


def test_gradients_come_in_the_order_of_the_backward_pass(reference):
    """So that the first wrong one is next to the fault."""
    subject = reference("tiny-scout")
    prompt = subject.family.prompt("train")
    names = list(subject.gradients(subject.oracle, prompt, subject.inputs(prompt, 0)))
    assert names[:2] == ["lm_head.weight", "model.norm.weight"]
    assert names[-1] == "model.embed_tokens.weight"
    last, first = (f"model.layers.{n}.feed_forward.router.weight" for n in (3, 0))
    assert names.index(last) < names.index("model.layers.3.self_attn.o_proj.weight") < names.index(first)
    assert set(names) == set(subject.weights)
