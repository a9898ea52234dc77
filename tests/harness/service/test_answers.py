"""What is answered is JSON, whatever a run says."""

import json
from dataclasses import dataclass

from paritygate.core.drift import Verdict
from paritygate.service.answers import answer, line


@dataclass(frozen=True)
class Said:
    text: str
    number: float | None
    parts: tuple[object, ...] = ()


def test_plain_data_is_an_object_of_its_fields() -> None:
    said = Said("é", 1e-300, (Said("", None), {"verdict": Verdict.PASS}))
    expected = {
        "text": "é",
        "number": 1e-300,
        "parts": [{"text": "", "number": None, "parts": []}, {"verdict": "pass"}],
    }
    assert json.loads(answer(said).body) == expected
    assert line(said).endswith(b"]}\n")


def test_half_of_a_pair_and_a_number_of_many_bits_are_answered() -> None:
    assert json.loads(line(Said("\ud800", 2**80, (Said("x", 1.0),)))) == {
        "text": "\ud800",
        "number": 2**80,
        "parts": [{"text": "x", "number": 1.0, "parts": []}],
    }
