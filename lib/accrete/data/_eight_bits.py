"""Pixels of any depth and kind to eight bits, grey or RGB: what range they have, what alpha shows.

An encoded file is decoded again whenever it is trained on and predicted, by itself. So each rule
looks at one file alone, and gives it the same pixels everywhere.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from accrete.errors import BadImageError

GROUND = 255
"""What shows through transparent pixels: white, as on a page. Drawings and cut-outs are made to be
seen on one, dark lines are far commoner than light ones, and black would swallow them."""

_RANGES = (255, 4095, 65535)
"""Greatest values of 8, 12 and 16 bits. Files tell that they have 16 bits, not how many are used.

A file gets the smallest range that holds its greatest value. Each step between ranges is a jump in
brightness within a data set, where one file's greatest value is just below it and another's above,
so there are but these: what 8-bit images are saved as by mistake, what cameras and scanners
measure, and all. 10 and 14 bits keep a quarter of the brightness, which the data set's
normalization takes out.
"""

_LEAST_OF_16_BITS = 4096 >> 8
"""Of 16-bit colours Pillow keeps the upper byte: below this, all of 12 bits would be black."""

_GREY_MODES = ("1", "L", "LA", "La")
_PALETTE_MODES = ("P", "PA")
_MODES_WITH_ALPHA = (*_GREY_MODES, *_PALETTE_MODES, "RGB", "RGBA", "RGBa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """What a file says of its pixels, and Pillow forgets once they are decoded."""

    top: int | None = None
    """Value that white has where pixels have over 8 bits; None: the file does not say so."""
    is_cut: bool = False
    """Whether the pixels are the upper bytes of 16-bit colours."""
    is_unsigned: bool = False
    """Whether they have 32 bits, which Pillow takes for signed ones."""
    is_white_zero: bool = False
    """Whether 0 is white, and Pillow takes it for black."""
    is_grey: bool = False
    """Whether it is grey with alpha, and Pillow makes it colours with alpha."""


def depth_of(image: Image.Image, place: str) -> Depth:
    """Return what a file says of its pixels.

    Args:
        image: opened, not loaded yet.
        place: file or row, for errors.

    Raises:
        BadImageError: Pillow would take its pixels for other ones.
    """
    decoder, raw_mode = _stored_as(image)
    tags: Any = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if tags:
        _check_reading(tags, decoder, raw_mode, place)
    is_deep = image.mode == "F" or image.mode.startswith("I")
    return Depth(
        top=_declared_range(image.format, raw_mode),
        is_cut=";16" in raw_mode,
        is_unsigned=raw_mode == "I;32N",
        is_white_zero=is_deep and tags.get(_WHITE) == 0,
        is_grey=raw_mode.startswith("LA;"),
    )


def is_grey_file(image: Image.Image, place: str) -> bool:
    """Return whether a file's pixels are grey, by its head; palettes aside.

    Args:
        image: opened, not loaded.
        place: file or row, for errors.

    Raises:
        BadImageError: as `depth_of`.
    """
    is_deep = image.mode == "F" or image.mode.startswith("I")
    return is_deep or image.mode in _GREY_MODES or depth_of(image, place).is_grey


def _check_reading(tags: Any, decoder: str, raw_mode: str, place: str) -> None:
    """Refuse a TIFF file whose pixels Pillow would take for other ones.

    Raises:
        BadImageError: says what it is.
    """
    bits, how = max(tags.get(_BITS, (1,))), None
    if bits == 8 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 2:
        how = "signed pixels of 8 bits"
    elif decoder == "libtiff":
        if raw_mode in _SWAPPED:
            how = "compressed big-endian pixels that are signed or floating-point"
    elif bits > 8 and tags.get(_PLANES) == 2 and (raw_mode != "F" or tags.prefix == b"MM"):
        how = f"pixels of {bits} bits, stored in planes"
    if how is not None:
        raise BadImageError(
            f"{place} has {how}, which are not decoded: convert it to unsigned pixels of 8 bits"
        )


_SWAPPED = ("I;16BS", "I;32BS", "F;32BF")
"""What libtiff hands over in this machine's byte order, and Pillow takes for the file's."""

_BITS, _WHITE, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
"""TIFF's tags."""


def _stored_as(image: Image.Image) -> tuple[str, str]:
    """Return Pillow's decoder and raw mode of a file that was opened: `libtiff`, `RGB;16B`."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return "", ""
    decoder, arguments = tiles[0][0], tiles[0][3]
    found = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return decoder, found if isinstance(found, str) else ""


def _declared_range(kind: str | None, raw_mode: str) -> int | None:
    """Return the greatest value that a file says grey pixels of over 8 bits may have, else None."""
    if kind in ("PPM", "HEIF"):
        return 65535  # to which their decoders scale the range that they declare
    return 4095 if raw_mode == "I;12" else None


def is_transparent(image: Image.Image) -> bool:
    """Return whether an image may have transparent pixels."""
    return image.mode in _MODES_WITH_ALPHA and image.has_transparency_data


def eight_bits(image: Image.Image, place: str, depth: Depth) -> NDArray[np.uint8]:
    """Return an image of any mode as uint8, (height, width) where grey, else with three channels.

    Args:
        image: the image.
        place: file or row, for errors.
        depth: what its file says.

    Raises:
        BadImageError: its values have no range that could be known.
    """
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow's own conversion would clip
        levels = np.asarray(image)
        pixels = _floats(levels, place) if image.mode == "F" else _integers(levels, place, depth)
        if depth.is_white_zero:
            np.subtract(255, pixels, out=pixels)
        key = image.info.get("transparency")
        if isinstance(key, int):
            pixels[levels == key] = GROUND
        return pixels
    if depth.is_cut and image.mode != "CMYK":  # in which little is white
        _check_used(image, place)
    if depth.is_grey:
        image = image.convert("LA")
    shown = _on_ground(image) if is_transparent(image) else image
    pixels = np.asarray(shown.convert("L" if shown.mode in _GREY_MODES else "RGB"))
    if image.mode in _PALETTE_MODES and _is_grey(pixels):
        return pixels[:, :, 0]
    return pixels


def _integers(levels: NDArray[Any], place: str, depth: Depth) -> NDArray[np.uint8]:
    if depth.is_unsigned:
        levels = levels.view(np.uint32)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > _RANGES[-1]:
        raise BadImageError(
            f"{place} has pixels of {low} to {high}, of which only 0 to {_RANGES[-1]} has a known "
            "range: convert it to 8 or 16 bits"
        )
    white = depth.top or next(each for each in _RANGES if high <= each)
    pixels = np.empty(levels.shape, np.uint8)
    for row, of_row in enumerate(levels):  # whole, they would take eight times the memory
        pixels[row] = of_row.astype(np.int64) * 255 // white
    if high and not pixels.any():
        raise BadImageError(
            f"{place} has pixels of {low} to {high}, where {white} is white: all would be black; "
            "convert it to 8 bits"
        )
    return pixels


def _floats(levels: NDArray[np.float32], place: str) -> NDArray[np.uint8]:
    low, high = float(levels.min()), float(levels.max())
    if math.isnan(low):
        raise BadImageError(
            f"{place} has floating-point pixels that are no numbers (NaN): replace them, or "
            "convert it to 8 bits"
        )
    if not 0 <= low <= high <= 1:
        raise BadImageError(
            f"{place} has floating-point pixels of {low:g} to {high:g}, of which only 0 to 1 has a "
            "known range: scale them to it, or convert it to 8 bits"
        )
    pixels = np.empty(levels.shape, np.uint8)
    for row, of_row in enumerate(levels):
        pixels[row] = np.rint(of_row * np.float32(255))
    if high and not pixels.any():
        raise BadImageError(
            f"{place} has floating-point pixels of {low:g} to {high:g}, where 1 is white: all "
            "would be black; scale them to 0 to 1, or convert it to 8 bits"
        )
    return pixels


def _check_used(image: Image.Image, place: str) -> None:
    """Refuse 16-bit colours of which the upper bytes, all that Pillow keeps, hold next to nothing.

    Raises:
        BadImageError: they do.
    """
    colours = [image.getchannel(band) for band in image.getbands() if band not in ("A", "a")]
    if max(int(np.asarray(channel).max()) for channel in colours) < _LEAST_OF_16_BITS:
        raise BadImageError(
            f"{place} has 16-bit colours that are all under 4096, of 65535: they would be nearly "
            "black; convert it to 8 bits"
        )


def _on_ground(image: Image.Image) -> Image.Image:
    """Return an image as it shows on the ground: grey where it is, else RGB."""
    is_grey = image.mode in _GREY_MODES
    with_alpha = "LA" if is_grey else "RGBA"
    whole = image if image.mode == with_alpha else image.convert(with_alpha)
    alpha = whole.getchannel("A")
    shown = whole.convert("L" if is_grey else "RGB")
    if alpha.getextrema() != (255, 255):
        shown.paste((GROUND,) * len(shown.getbands()), mask=ImageChops.invert(alpha))
    return shown


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    red, green, blue = np.moveaxis(pixels, 2, 0)
    return np.array_equal(red, green) and np.array_equal(green, blue)
