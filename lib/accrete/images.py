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

_GREY_MODES = ("1", "L", "I;16", "I", "F")


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
                upright = ImageOps.exif_transpose(image)
                converted = upright.convert("L" if upright.mode in _GREY_MODES else "RGB")
    except BadImageError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on bad bytes
        detail = "it is empty" if not data else str(error).splitlines()[0] if str(error) else "?"
        raise BadImageError(
            f"{place} cannot be decoded ({detail}): mend or remove it, "
            "or skip such images with --on-bad-image skip"
        ) from error
    pixels = np.asarray(converted)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


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
