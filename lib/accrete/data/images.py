"""Image files to pixels, within a memory budget: decoding, resizing.

An image file of a hundred kilobytes may decode to 192 MB: a number of images says nothing of what
they take. numpy and Pillow only.
"""

import io
import warnings
from collections.abc import Callable
from threading import Condition

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from accrete.config.image_format import MAX_PIXELS
from accrete.data._eight_bits import depth_of, eight_bits, is_grey_file, is_transparent
from accrete.data._image_kinds import decoded_kinds, image_suffixes, looks_like_image, what_it_is
from accrete.data._undecoded import why_stopped, why_unopened
from accrete.errors import BadImageError

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "DecodingBudget",
    "Pixels",
    "check_file_size",
    "decode_image",
    "decoded_kinds",
    "ignore",
    "image_suffixes",
    "is_grey_file",
    "looks_like_image",
    "resize_crop",
    "with_channels",
]

Pixels = NDArray[np.uint8]
"""(height, width, channels), channels 1 or 3."""

MAX_FILE_BYTES = 256 << 20
"""A larger image file is refused before it is read; raw, 64 megapixels of RGB are 192 MB."""

DECODING_BYTES = 8
"""Memory that decoding takes for each pixel, about: the decoder's pixels and their RGB."""

TRANSPARENT_BYTES = 12
"""The same where there is alpha: as much again for a mask and for what lies on the ground."""


def ignore(num_bytes: int) -> None:
    """Take no notice of what an image is about to cost."""


def check_file_size(num_bytes: int, place: str) -> None:
    """Refuse an image file that is too large, before it is read.

    Raises:
        BadImageError: over 256 MiB; names the place.
    """
    if num_bytes > MAX_FILE_BYTES:
        raise BadImageError(
            f"{place} is a file of {num_bytes:,} bytes, over the limit of {MAX_FILE_BYTES:,}: "
            "scale the image down or skip such images with --on-bad-image skip"
        )


def decode_image(data: bytes, place: str, admit: Callable[[int], None] = ignore) -> Pixels:
    """Return an image file's pixels, upright as its EXIF says; grey stays one channel.

    Args:
        data: the file's bytes.
        place: file or row, for errors.
        admit: told, before any pixel is decoded, how many bytes that will take; may wait.

    Raises:
        BadImageError: not an image, cut short, over 64 megapixels, or with pixels of no known
            range; names the place.
    """
    check_file_size(len(data), place)
    try:
        with warnings.catch_warnings():
            # What is odd but can be decoded, such as damaged EXIF, would be lines among ours.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=decoded_kinds()) as image:
                pixels = _decoded(image, place, admit)
    except BadImageError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on bad bytes
        detail = _what_is_wrong(data, error)
        raise BadImageError(
            f"{place} cannot be decoded ({detail}): mend or remove it, "
            "or skip such images with --on-bad-image skip"
        ) from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _decoded(image: Image.Image, place: str, admit: Callable[[int], None]) -> Pixels:
    _check_size(image, place)
    depth = depth_of(image, place)
    per_pixel = TRANSPARENT_BYTES if is_transparent(image) else DECODING_BYTES
    admit(per_pixel * image.width * image.height)
    image.load()
    _check_size(image, place)  # a HEIC file's may be another one now
    return eight_bits(ImageOps.exif_transpose(image), place, depth)


def _what_is_wrong(data: bytes, error: Exception) -> str:
    """Return why an image could not be decoded, in a few words."""
    if isinstance(error, UnidentifiedImageError) or not data:
        if looks_like_image(data):
            return why_unopened(data)
        return what_it_is(data) or "it is no BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file"
    return why_stopped(data, str(error).strip().partition("\n")[0] or type(error).__name__)


def _check_size(image: Image.Image, place: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadImageError(
            f"{place} has {image.width}x{image.height} pixels, over the limit of {MAX_PIXELS}: "
            "scale it down or skip such images with --on-bad-image skip"
        )


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return grey pixels as three equal channels where three are asked for."""
    return np.repeat(pixels, channels, axis=2) if pixels.shape[2] < channels else pixels


def resize_crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return pixels scaled (bilinear) to cover height x width and cropped to its centre."""
    if pixels.shape[:2] == (height, width):
        return pixels
    mode_pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    fitted = ImageOps.fit(
        Image.fromarray(mode_pixels), (width, height), method=Image.Resampling.BILINEAR
    )
    result = np.asarray(fitted)
    return result[:, :, None] if result.ndim == 2 else result


BUDGET_BYTES = 2 << 30
"""For all that is decoded and not used up; 20 photographs of 12 megapixels."""


class DecodingBudget:
    """Lets threads decode while there is room, and the first in line always.

    Images are decoded in turns, numbered in the order in which they are used up.
    """

    def __init__(self, num_bytes: float = BUDGET_BYTES) -> None:
        """Begin with all of it."""
        self._num_bytes = num_bytes
        self._held: dict[int, int] = {}
        self._changed = Condition()

    @property
    def held_bytes(self) -> int:
        """What was admitted and not released."""
        with self._changed:
            return sum(self._held.values())

    def admit(self, turn: int, num_bytes: int) -> None:
        """Wait until there is room, or no turn before this one holds any; then hold it.

        The first in line may exceed the budget: those behind it wait for it to be used up.
        """
        with self._changed:
            self._held.setdefault(turn, 0)
            self._changed.wait_for(lambda: self._may_hold(turn, num_bytes))
            self._held[turn] += num_bytes

    def _may_hold(self, turn: int, num_bytes: int) -> bool:
        return turn == min(self._held) or sum(self._held.values()) + num_bytes <= self._num_bytes

    def release(self, turn: int) -> None:
        """Say that a turn's images are used up."""
        with self._changed:
            self._held.pop(turn, None)
            self._changed.notify_all()

    def lift(self) -> None:
        """Let all go on: nobody will use up what they decode."""
        with self._changed:
            self._num_bytes = float("inf")
            self._changed.notify_all()
