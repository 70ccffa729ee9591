"""Image files that a user names, and their pixels as a model takes them."""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from accrete.config.image_format import ImageFormat
from accrete.core.units import format_counted
from accrete.data.images import (
    Pixels,
    check_file_size,
    decode_image,
    ignore,
    image_suffixes,
    resize_crop,
    with_channels,
)
from accrete.data.sources.base import LeftOut, reasons
from accrete.data.sources.files import open_files
from accrete.data.sources.folders.imagefolder import images_among
from accrete.errors import BadImageError, SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """What some paths come to."""

    files: tuple[Path, ...]
    """Image files, in the order of the paths, each folder's sorted."""
    left_out: tuple[LeftOut, ...]
    """Files in folders that are no images, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedImage:
    """An image as a model takes it, and what it took to make it so."""

    pixels: Pixels
    """(height, width, channels) of the model's image format."""
    size: tuple[int, int]
    """Height and width that the file has."""
    lost_colour: bool
    """Whether it had three channels and the model takes one."""


def find_images(paths: Sequence[Path]) -> FoundImages:
    """Return the image files among some files and below some folders.

    A file that is named itself counts whatever its suffix.

    Raises:
        SourceError: a path does not exist, or there is no image.
    """
    files: list[Path] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if not _is_folder(path):
            files.append(path)
            continue
        inside = images_among(open_files(str(path), image_suffixes()))
        files += sorted(path / name for name in inside.names)
        left_out += inside.left_out
    if not files:
        where = ", ".join(str(path) for path in paths)
        raise SourceError(
            f"no image in {where}: {format_counted(len(left_out), 'file')}, left out "
            f"({reasons(left_out)})"
            if left_out
            else f"no image in {where}, nor any other file"
        )
    return FoundImages(files=tuple(files), left_out=tuple(left_out))


def _is_folder(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist: give image files or folders of them") from error
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} cannot be read ({detail})") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise SourceError(f"{path} is no regular file (a pipe or a device): give image files")
    return stat.S_ISDIR(mode)


def read_image(
    path: Path, image: ImageFormat, admit: Callable[[int], None] = ignore
) -> FittedImage:
    """Return a file's image as a model takes it: scaled to cover its size, cropped to the centre.

    Args:
        path: the file.
        image: what the model takes.
        admit: as for `decode_image`.

    Raises:
        BadImageError: it cannot be read or decoded.
    """
    try:
        check_file_size(path.stat().st_size, str(path))
        data = path.read_bytes()
    except OSError as error:
        raise BadImageError(
            f"{path} cannot be read ({error.strerror}): "
            "mend it, or skip such images with --on-bad-image skip"
        ) from error
    pixels = decode_image(data, str(path), admit)
    height, width, channels = pixels.shape
    return FittedImage(
        pixels=fit_pixels(pixels, image),
        size=(height, width),
        lost_colour=channels > image.channels,
    )


def fit_pixels(pixels: Pixels, image: ImageFormat) -> Pixels:
    """Return decoded pixels as a model takes them: its channels, scaled and cropped to its size."""
    own = to_grey(pixels) if pixels.shape[2] > image.channels else pixels
    return with_channels(resize_crop(own, image.height, image.width), image.channels)


def to_grey(pixels: Pixels) -> Pixels:
    """Return RGB pixels as one channel of luma (ITU-R 601), as Pillow's mode `L` has it."""
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
