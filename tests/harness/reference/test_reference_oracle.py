"""The oracle is true float64: not one float32 number arises while it runs, and many do without the lift."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paritygate.reference import prompts
from paritygate.reference.oracle import lifted

NARROW = {torch.float32, torch.complex64, torch.float16, torch.bfloat16}


class Dtypes(TorchDispatchMode):
    """Collects the operations whose results are narrower than float64."""

    def __init__(self):
        super().__init__()
        self.narrow = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor) and value.dtype in NARROW:
                self.narrow[str(func)] = value.dtype
        return result


def narrow_operations(reference, model, context):
    prompt = reference.family.prompt("padded")
    with Dtypes() as seen, context:
        reference.run(model, prompt, prompts.inputs(prompt, 0))
    return seen.narrow


@pytest.mark.parametrize("preset", ["tiny-scout", "tiny-maverick"])
def test_the_lifted_oracle_has_no_float32_island(reference, preset):
    subject = reference(preset)
    assert narrow_operations(subject, subject.oracle, lifted()) == {}
    assert subject.oracle.model.rotary_emb.inv_freq.dtype is torch.float64


def test_without_the_lift_float64_has_islands(reference):
    import contextlib

    subject = reference("tiny-scout")
    plain = subject.build("float64")
    islands = narrow_operations(subject, plain, contextlib.nullcontext())
    assert {"aten._to_copy.default", "aten.rsqrt.default", "aten.polar.default", "aten.sigmoid.default"} <= set(islands)


def test_lifting_is_undone_even_after_an_error():
    before = torch.float32, torch.float, torch.complex64, torch.Tensor.float
    with pytest.raises(RuntimeError, match="inside"), lifted():
        assert torch.ones(2, dtype=torch.float32).float().dtype is torch.float64
        raise RuntimeError("inside")
    assert (torch.float32, torch.float, torch.complex64, torch.Tensor.float) == before
    assert str(torch.float32) == "torch.float32"


def test_peers_keep_their_frequencies_in_float32(reference):
    for policy, model in reference("tiny-scout").peers.values():
        assert model.model.rotary_emb.inv_freq.dtype is torch.float32
        assert model.lm_head.weight.dtype is getattr(torch, policy.peer)


def test_weights_are_exact_in_every_dtype(reference):
    for preset in ("tiny-scout", "tiny-maverick"):
        for name, weight in reference(preset).weights.items():
            wide = weight.astype(np.float64)
            for narrow in (np.float32, np.float16):
                assert np.array_equal(wide.astype(narrow).astype(np.float64), wide), name


def test_no_matrix_is_square_and_no_two_widths_are_equal(reference):
    for preset in ("tiny-scout", "tiny-maverick"):
        for name, weight in reference(preset).weights.items():
            assert len(set(weight.shape)) == weight.ndim, (name, weight.shape)
