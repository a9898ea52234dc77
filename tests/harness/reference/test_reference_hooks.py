"""The recorder keeps keyword arguments, call ordinals and order, and values as they were when they were seen."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from paritygate.core.errors import UsageError
from paritygate.core.site import Kind, Port
from paritygate.reference.hooks import Calling, Recorder, tapped
from paritygate.reference.select import chosen, value


class Inner(nn.Module):
    def forward(self, x, *, scale=1.0, note=None):
        return x * scale, {"kept": x}


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x):
        first, _ = self.inner(x, scale=2.0, note="first")
        second, _ = self.inner(first)
        second.add_(planted.double_it(x))  # the reference does write into values after they were returned
        return second


planted = types.ModuleType("planted")
planted.double_it = lambda x: x + x
sys.modules["planted"] = planted


@pytest.fixture
def recorded():
    model, recorder = Outer(), Recorder()
    with recorder.on({"": model, "inner": model.inner}, ["planted:double_it"]):
        model(torch.ones(1, 2))
    return model, recorder


def test_calls_are_kept_in_order_with_keywords(recorded):
    _, recorder = recorded
    first, second = recorder.calls["inner"]
    assert (first.kwargs, second.kwargs) == ({"scale": 2.0, "note": "first"}, {})
    (outer,) = recorder.calls[""]
    assert outer.entered < first.entered < first.left < second.entered < second.left < outer.left


def test_values_are_as_they_were_when_seen(recorded):
    _, recorder = recorded
    assert recorder.calls["inner"][1].result[0].tolist() == [[2.0, 2.0]]
    assert recorder.calls[""][0].result.tolist() == [[4.0, 4.0]]


def test_functions_are_ascribed_to_the_module_that_runs(recorded):
    _, recorder = recorded
    (call,) = recorder.calls[""][0].functions["double_it"]
    assert call.result.tolist() == [[2.0, 2.0]]
    assert not recorder.calls["inner"][0].functions


def test_a_method_that_a_class_inherits_is_tapped_and_put_back():
    module, recorder = nn.Identity(), Recorder()
    with recorder.on({"": module}, ["torch:Tensor.masked_scatter"]):
        module.register_forward_hook(
            lambda _, args, __: args[0].masked_scatter(torch.tensor([True, False]), torch.ones(1))
        )
        module(torch.zeros(2))
    assert "masked_scatter" not in vars(torch.Tensor)
    assert torch.zeros(1).masked_scatter(torch.tensor([True]), torch.ones(1)).tolist() == [1.0]


def test_a_function_runs_alone_as_a_module_does():
    dotted = "planted:double_it"
    alone, recorder = Calling(tapped("double_it", ["torch:Tensor.masked_scatter", dotted])), Recorder()
    with recorder.on({"": alone}, ()):
        alone(torch.ones(1))
    (call,) = recorder.calls[""]
    assert (call.args[0].tolist(), call.result.tolist()) == ([1.0], [2.0])


def test_nothing_is_left_behind(recorded):
    model, recorder = recorded
    assert planted.double_it.__name__ == "<lambda>"
    model(torch.ones(1, 2))
    assert len(recorder.calls["inner"]) == 2


def port(reference, layout="B T", reference_layout=""):
    return Port("out", Kind.FLOAT, layout, reference, "result", reference_layout=reference_layout)


INPUTS = {"tokens": np.zeros((1, 2), np.int64), "slots": np.arange(2)}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("arg:0", [[1.0, 1.0]]),
        ("result", [[4.0, 4.0]]),
        ("call:double_it:arg:0", [[1.0, 1.0]]),
        ("call:double_it:result", [[2.0, 2.0]]),
    ],
)
def test_selectors(recorded, selector, expected):
    got, _ = value(port(selector), "site", recorded[1].calls[""][0], INPUTS)
    assert got.tolist() == expected


def test_nested_results_and_case_inputs(recorded):
    call = recorded[1].calls["inner"][0]
    assert value(port("result:0"), "site", call, INPUTS)[0].tolist() == [[2.0, 2.0]]
    assert value(port("result:1:kept"), "site", call, INPUTS)[0].tolist() == [[1.0, 1.0]]
    assert value(port("case:slots", "T"), "site", call, INPUTS)[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("arg:3", "selector finds nothing: site:out"),
        ("kwarg:missing", "selector finds nothing: site:out"),
        ("kwarg:scale", "selector names no tensor: site:out"),
        ("result:1:lost", "selector finds nothing: site:out"),
        ("call:unknown:result", "tapped function was not called: site:out"),
        ("somewhere", "bad selector: site:out"),
        ("arg:0 | squared", "unknown transform: squared"),
    ],
)
def test_a_selector_that_does_not_fit_names_the_port(recorded, selector, says):
    with pytest.raises(UsageError) as caught:
        value(port(selector), "site", recorded[1].calls["inner"][0], INPUTS)
    assert str(caught.value).startswith(says)


def test_a_layout_that_does_not_fit_shows_the_shape(recorded):
    with pytest.raises(UsageError, match=r"shape \(1, 2\) does not fit layout 'B T D'"):
        value(port("arg:0", "B T D"), "site", recorded[1].calls[""][0], INPUTS)


def test_chosen_columns_are_ascending_and_equally_many():
    scores = torch.tensor([[0.0, 0.5, 0.2], [0.9, 0.0, 0.1]])
    assert chosen(scores).tolist() == [[1, 2], [0, 2]]
    with pytest.raises(ValueError, match="between 1 and 2"):
        chosen(torch.tensor([[0.0, 0.5, 0.2], [0.9, 0.0, 0.0]]))
