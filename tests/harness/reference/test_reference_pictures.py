"""Pictures in prompts: photos known by their hash, tiles and runs as HF's processor gives them, places in the text."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from paritygate.catalog.photos import PHOTOS
from paritygate.core.errors import InfrastructureError, UsageError
from paritygate.core.family import PIXELS, Picture, Prompt, PromptRow
from paritygate.reference import photos, prompts
from paritygate.reference.llama4_pictures import run, tiles

# sha256 of what transformers 5.23's `Llama4ImageProcessor(size=16, max_patches=rows · columns)` itself made, with
# torchvision 0.28, of the piece of `chelsea` that begins at row 7 and column 30, four of its pixels to one of a tile.
BY_HF = {
    (1, 1): "4e8181b2508ddbd8714254417ad5dbd844ac39d8635865e45932a791ee0afb86",
    (1, 3): "42eda8a9f337b359385028fb7ffbe52d5dc75958ebb76433314a328f7109622a",
    (2, 2): "755103efa66f8557189078cc33bb50f7edf84bea1b989b425ece83e1fb646d27",
    (2, 3): "f5adc848261f506eb0f459faf21eadf912dba65fc7675614141402195597a26b",
}
# The torchvision that each torch goes with.
TORCHVISION = {"2.9": "0.24", "2.10": "0.25", "2.11": "0.26", "2.12": "0.27", "2.13": "0.28"}
CONFIG = {
    "boi_token_index": 256,
    "eoi_token_index": 257,
    "image_token_index": 258,
    "vision_config": {"image_size": 16, "patch_size": 4, "pixel_shuffle_ratio": 0.5},
}


@pytest.mark.parametrize("grid", BY_HF, ids=lambda grid: "x".join(map(str, grid)))
def test_tiles_are_those_of_the_processor_bit_for_bit(grid):
    rows, columns = grid
    piece = photos.read(PHOTOS["chelsea"])[7 : 7 + 64 * rows, 30 : 30 + 64 * columns]
    made = tiles(piece, 16, grid)
    assert made.shape == (rows * columns + (rows * columns > 1), 3, 16, 16)
    assert hashlib.sha256(made.tobytes()).hexdigest() == BY_HF[grid]


def test_pixels_are_exact_in_float16_as_in_bfloat16():
    made = tiles(photos.read(PHOTOS["rocket"])[:320, :480], 16, (2, 3))
    assert made.dtype == ml_dtypes.bfloat16
    assert np.array_equal(made.astype(np.float16).astype(np.float64), made.astype(np.float64))


def test_runs_have_separators_and_the_whole_picture_last():
    patch, whole, x, y = [258] * 4, 259, 260, 261
    assert run((1, 1), CONFIG) == [256, whole, *patch, 257]
    rows = [*patch, x, *patch, x, *patch, y] * 2
    assert run((2, 3), CONFIG) == [256, *rows, whole, *patch, 257]
    assert len(run((1, 3), CONFIG)) == 22


def test_a_photo_of_another_content_is_refused():
    with pytest.raises(UsageError, match="photo is not the one that the catalog knows") as caught:
        photos.read(replace(PHOTOS["chelsea"], sha256="0" * 64))
    assert PHOTOS["chelsea"].sha256 in str(caught.value)


def test_without_the_extra_capture_says_which_to_install():
    with pytest.raises(InfrastructureError) as caught:
        photos.read(replace(PHOTOS["chelsea"], package="no_such_package"))
    assert str(caught.value) == (
        "pictures cannot be read: chelsea\n"
        "  expected  the packages PIL and no_such_package\n"
        "  try       pip install 'paritygate[images]'"
    )


def test_a_photo_smaller_than_its_picture_is_refused():
    with pytest.raises(UsageError, match="photo is smaller than the picture"):
        photos.crop(np.zeros((40, 40, 3), np.uint8), 41, 10, np.random.default_rng(0))


def numbered(picture, random):
    """Two tiles that tell where the crop was, and a run of three tokens."""
    return np.full((2, 1, 2, 2), random.integers(1000), ml_dtypes.bfloat16), [256, 258, 257]


SHOWN = Prompt(
    "p",
    (
        PromptRow(pictures=(Picture("chelsea", 2), Picture("coffee", 2))),
        PromptRow(),
        PromptRow(pad_left=2, holes=(5,), pictures=(Picture("rocket", 1),)),
    ),
    11,
)


def test_pictures_stand_after_their_bytes_of_text_and_positions_count_them():
    made = prompts.inputs(SHOWN, 0, numbered)
    of_picture = made["tokens"] > 255
    expected = [[0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0], [0] * 11, [0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0]]
    assert of_picture.astype(int).tolist() == expected
    assert made["position_ids"][0].tolist() == list(range(11))
    assert made["position_ids"][2].tolist() == [0, 0, 0, 1, 2, 0, 3, 4, 5, 6, 7]
    assert made[PIXELS].shape == (6, 1, 2, 2)
    text = [
        bytes(row[~shown & real].astype(np.uint8))
        for row, shown, real in zip(made["tokens"], of_picture, made["attention_mask"], strict=True)
    ]
    assert [len(part) for part in text] == [5, 11, 5]
    without = prompts.inputs(replace(SHOWN, rows=(PromptRow(),) * 3), 0)["tokens"].astype(np.uint8)
    assert all(bytes(row).startswith(part) for row, part in zip(without, text, strict=True))


def test_the_seed_moves_the_crops_and_one_seed_makes_one_prompt():
    first, again, other = (prompts.inputs(SHOWN, seed, numbered) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first[PIXELS], other[PIXELS])
    assert len(np.unique(first[PIXELS].astype(float))) == 3


def test_a_picture_past_the_first_piece_is_refused():
    fits = replace(SHOWN, pieces=(8, 3), cache="dense")
    assert PIXELS in prompts.inputs(fits, 0, numbered)
    with pytest.raises(UsageError, match="a picture goes past the first piece: p") as caught:
        prompts.inputs(replace(SHOWN, pieces=(7, 4), cache="dense"), 0, numbered)
    assert "all pictures in the first 7 slots" in str(caught.value)
    assert "slot 7" in str(caught.value)


@pytest.mark.parametrize(
    "pictures",
    [(Picture("chelsea", 9),), (Picture("chelsea", 4), Picture("coffee", 3)), (Picture("chelsea", 0),) * 4],
    ids=["past the text", "out of order", "more than the row"],
)
def test_pictures_that_do_not_fit_their_row_are_refused(pictures):
    with pytest.raises(UsageError, match="pictures do not fit their row: p"):
        prompts.inputs(Prompt("p", (PromptRow(pictures=pictures),), 11), 0, numbered)


def test_pictures_that_nothing_shows_are_refused_and_not_left_out():
    prompt = Prompt("seen", (PromptRow(pictures=(Picture("chelsea", 3),)), PromptRow()), 24)
    with pytest.raises(UsageError, match="pictures in a prompt of a family that shows none") as caught:
        prompts.inputs(prompt, 0)
    assert "pictures: 1" in str(caught.value)


def test_pixels_have_no_slots():
    made = prompts.inputs(SHOWN, 0, numbered)
    piece = prompts.seen(made, 8, 11)
    assert np.array_equal(piece[PIXELS], made[PIXELS])
    assert piece["tokens"].shape == (3, 3)


def test_a_presets_pictures_fill_the_features_of_its_model(reference):
    for preset, prompt in (("tiny-vision", "tiles"), ("tiny-multimodal", "mixed")):
        subject = reference(preset)
        made = subject.inputs(subject.family.prompt(prompt), 0)
        assert (made["tokens"] == 258).sum() == 4 * len(made[PIXELS])


@pytest.mark.network
@pytest.mark.timeout(600)
def test_the_processor_itself_makes_these_tiles(tmp_path):
    # torchvision cannot be in the environment of the tests: beside a CPU build of torch its wheel imports with an
    # error, and where it is installed transformers imports it.
    wheel, pieces, out = tmp_path / "wheel", tmp_path / "pieces.npz", tmp_path / "tiles.npz"
    install = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(wheel)]
    run_python("-m", *install, f"torchvision=={TORCHVISION[torch.__version__.rpartition('.')[0]]}.*")
    photo = photos.read(PHOTOS["coffee"])
    given = {f"{rows}x{columns}": photo[5 : 5 + 50 * rows, 9 : 9 + 50 * columns] for rows, columns in BY_HF}
    np.savez(pieces, **given)
    run_python(str(Path(__file__).with_name("hf_processor.py")), str(wheel), str(pieces), str(out))
    with np.load(out) as made:
        for grid in BY_HF:
            name = "x".join(map(str, grid))
            assert np.array_equal(tiles(given[name], 16, grid).view(np.int16), made[name])


def run_python(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
