"""What several processes of one worker say as one."""

import pytest

from paritygate.replay import devices
from paritygate.replay.devices import Together


def test_of_a_case_nothing_is_said_until_all_processes_are_through_with_it(monkeypatch):
    said = []
    together = Together(lambda kind, value: said.append((kind, value)))
    record = {"cells": ["x"], "python": "3", "versions": {}, "candidate": {}}
    one, two = ({"case": case, "cell": "x"} for case in ("one", "two"))
    program = {"name": "one forward 1", "cell": "x"}
    together("record", record)
    together("program", program)
    together("drift", one)
    assert said == [("record", record)]
    together("drift", two)
    whole = [("record", record), ("program", program), ("drift", one)]
    assert said == whole

    def lost(name: str) -> None:
        raise RuntimeError("connection closed by peer")

    monkeypatch.setattr(devices.multihost_utils, "sync_global_devices", lost)
    with pytest.raises(RuntimeError, match="closed by peer"):
        together("done", record)
    assert said == whole


def test_other_processes_say_what_they_are_and_nothing_of_the_candidate(monkeypatch):
    said = []
    monkeypatch.setattr(devices.jax, "process_index", lambda: 1)
    together = Together(lambda kind, value: said.append(kind))
    record = {"cells": ["x"], "python": "3", "versions": {}, "candidate": {}}
    for kind, value in (("record", record), ("drift", {"case": "one", "cell": "x"}), ("done", record)):
        together(kind, value)
    assert said == ["record", "done"]
