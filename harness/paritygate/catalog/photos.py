"""Photographs that pictures of prompts are cut from: files that a package ships, each known by its sha256."""

from dataclasses import dataclass

from paritygate.core.errors import unknown_name


@dataclass(frozen=True)
class Photo:
    """A file of an installed package: `file` is its path inside `package`."""

    name: str
    package: str
    file: str
    sha256: str


# All CC0 or in the public domain; see README.txt beside the files.
PHOTOS = {
    photo.name: photo
    for photo in (
        Photo(
            "chelsea",
            "skimage",
            "data/chelsea.png",
            "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        ),
        Photo(
            "coffee",
            "skimage",
            "data/coffee.png",
            "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        ),
        Photo(
            "rocket",
            "skimage",
            "data/rocket.jpg",
            "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        ),
        Photo(
            "astronaut",
            "skimage",
            "data/astronaut.png",
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        ),
    )
}


def photo_of(name: str) -> Photo:
    """The photograph of that name. Raises UsageError where the catalog has none."""
    if name not in PHOTOS:
        raise unknown_name("photo", name, list(PHOTOS))
    return PHOTOS[name]
