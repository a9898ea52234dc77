"""Reads the photographs of the catalog, once each, and shows them to a model. Needs the extra `images`."""

import hashlib
import io
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from paritygate.catalog.photos import Photo, photo_of
from paritygate.core.errors import InfrastructureError, UsageError
from paritygate.core.family import Picture


@cache
def read(photo: Photo) -> np.ndarray:
    """A photograph as uint8 (H, W, 3).

    Raises InfrastructureError where what reads it is not installed, UsageError where its file is not the catalog's.
    """
    package = find_spec(photo.package)
    if package is None or find_spec("PIL") is None:
        raise InfrastructureError(
            "pictures cannot be read",
            where=photo.name,
            expected=f"the packages PIL and {photo.package}",
            try_="pip install 'paritygate[images]'",
        )
    from PIL import Image

    file = Path((package.submodule_search_locations or ["."])[0]) / photo.file
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != photo.sha256:
        raise UsageError(
            "photo is not the one that the catalog knows",
            where=str(file),
            expected=photo.sha256,
            got=found,
            try_="the release in constraints/, or another sha256 in catalog/photos.py",
        )
    pixels = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
    pixels.flags.writeable = False
    return pixels


def show(
    pictures: Callable[..., tuple[np.ndarray, list[int]]],
    config: Mapping[str, Any],
    picture: Picture,
    random: np.random.Generator,
) -> tuple[np.ndarray, list[int]]:
    """What a family's `pictures` makes of a picture: its tiles, and the tokens that stand for it."""
    return pictures(picture, read(photo_of(picture.photo)), random, config)


def crop(photo: np.ndarray, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A piece of the photo, its place chosen by `random`. Raises UsageError where the photo is smaller."""
    space = photo.shape[0] - height, photo.shape[1] - width
    if min(space) < 0:
        raise UsageError(
            "photo is smaller than the picture",
            expected=f"at least {height} × {width} pixels",
            got=f"{photo.shape[0]} × {photo.shape[1]}",
        )
    top, left = (int(random.integers(room + 1)) for room in space)
    return photo[top : top + height, left : left + width]
