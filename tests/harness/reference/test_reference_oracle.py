"""The oracle is true float64: not one float32 number arises while it runs, and many do without the lift."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paritygate.reference.oracle import lifted

from limits import limit

OF_PICTURES = ("tiny-vision", "tiny-multimodal")
PRESETS = ("tiny-scout", "tiny-maverick", *OF_PICTURES)
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
    prompt = reference.family.prompt("mixed" if reference.preset.name in OF_PICTURES else "padded")
    case_inputs = reference.inputs(prompt, 0)
    with Dtypes() as seen, context:
        reference.run(model, prompt, case_inputs)
    return seen.narrow


def rotations(model):
    """The dtype of each table of rotary frequencies, by its name."""
    buffers = ((name.rpartition(".")[2], buffer.dtype) for name, buffer in model.named_buffers())
    return {name: dtype for name, dtype in buffers if name in ("inv_freq", "freqs_ci")}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_lifted_oracle_has_no_float32_island(reference, preset):
    subject = reference(preset)
    assert narrow_operations(subject, subject.oracle, lifted()) == {}
    wide = {"inv_freq": torch.float64} | ({"freqs_ci": torch.complex128} if preset in OF_PICTURES else {})
    assert rotations(subject.oracle) == wide


@pytest.mark.parametrize("preset", OF_PICTURES)
def test_the_rotations_of_patches_are_those_of_float64(reference, preset):
    """The oracle's table against NumPy's: column angles, then row angles, from 1 on; the class token is not turned."""
    subject = reference(preset)
    vision = subject.preset.config["vision_config"]
    side = vision["image_size"] // vision["patch_size"]
    half = vision["hidden_size"] // vision["num_attention_heads"] // 2
    frequencies = vision["rope_parameters"]["rope_theta"] ** (-np.arange(0, half, 2) / half)
    rows, columns = np.divmod(np.arange(side**2), side)
    angles = np.concatenate([np.outer(columns + 1, frequencies), np.outer(rows + 1, frequencies)], axis=1)
    angles = np.concatenate([angles, np.zeros_like(angles[:1])])
    table = subject.oracle.vision_model.rotary_embedding.freqs_ci.numpy()[:, 0]
    np.testing.assert_allclose(table.real, np.cos(angles), rtol=0, atol=limit("rotary", "f64", side))
    np.testing.assert_allclose(table.imag, np.sin(angles), rtol=0, atol=limit("rotary", "f64", side))


def test_without_the_lift_float64_has_islands(reference):
    import contextlib

    subject = reference("tiny-multimodal")
    plain = subject.build("float64")
    islands = narrow_operations(subject, plain, contextlib.nullcontext())
    assert {"aten._to_copy.default", "aten.rsqrt.default", "aten.polar.default", "aten.sigmoid.default"} <= set(islands)
    assert rotations(plain) == {"inv_freq": torch.float32, "freqs_ci": torch.complex64}


def test_lifting_is_undone_even_after_an_error():
    before = torch.float32, torch.float, torch.complex64, torch.Tensor.float
    with pytest.raises(RuntimeError, match="inside"), lifted():
        assert torch.ones(2, dtype=torch.float32).float().dtype is torch.float64
        raise RuntimeError("inside")
    assert (torch.float32, torch.float, torch.complex64, torch.Tensor.float) == before
    assert str(torch.float32) == "torch.float32"


def test_peers_keep_their_frequencies_in_float32(reference):
    for policy, model in reference("tiny-multimodal").peers.values():
        assert rotations(model) == {"inv_freq": torch.float32, "freqs_ci": torch.complex64}
        assert model.language_model.lm_head.weight.dtype is getattr(torch, policy.peer)


def test_weights_are_exact_in_every_dtype(reference):
    for preset in PRESETS:
        for name, weight in reference(preset).weights.items():
            wide = weight.astype(np.float64)
            for narrow in (np.float32, np.float16):
                assert np.array_equal(wide.astype(narrow).astype(np.float64), wide), name


def test_no_matrix_is_square_and_no_two_widths_are_equal(reference):
    for preset in PRESETS:
        for name, weight in reference(preset).weights.items():
            if name.endswith("vision_adapter.mlp.fc2.weight"):
                continue  # which the model itself makes square
            assert len(set(weight.shape)) == weight.ndim, (name, weight.shape)
