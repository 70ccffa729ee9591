"""Image files to pixels: decoding, colour mode, resizing. numpy and Pillow only."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from accrete.errors import BadImageError

Pixels = NDArray[np.uint8]
"""(height, width, channels), channels 1 or 3."""

MAX_PIXELS = 64_000_000
"""A larger image is refused before it is decoded: 64 megapixels are 192 MB of RGB."""

_EIGHT_BIT_GREY = ("1", "L")


def decode_image(data: bytes, place: str) -> Pixels:
    """Return an image file's pixels, upright as its EXIF says; grey stays one channel.

    Raises:
        BadImageError: not an image, cut short, or over 64 megapixels; names the place.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                _check_size(image, place)
                image.load()
                pixels = _eight_bit(ImageOps.exif_transpose(image), place)
    except BadImageError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on bad bytes
        detail = "it is empty" if not data else str(error).splitlines()[0] if str(error) else "?"
        raise BadImageError(
            f"{place} cannot be decoded ({detail}): mend or remove it, "
            "or skip such images with --on-bad-image skip"
        ) from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _eight_bit(image: Image.Image, place: str) -> Pixels:
    """Return an image of any mode as uint8, (height, width) where grey, else with three channels.

    Raises:
        BadImageError: its pixels are floating-point numbers, whose range nothing tells.
    """
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip at 255
        levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return (levels // 257).astype(np.uint8)
    if image.mode == "F":
        raise BadImageError(f"{place} has floating-point pixels: convert it to 8 bits")
    return np.asarray(image.convert("L" if image.mode in _EIGHT_BIT_GREY else "RGB"))


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
