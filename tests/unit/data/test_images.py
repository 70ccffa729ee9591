"""Image files to pixels: what decodes to what, what is refused, and how it is resized."""

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from accrete.data.images import MAX_PIXELS, decode_image, resize_crop, with_channels
from accrete.errors import BadImageError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
GREY = RNG.integers(0, 256, (6, 9), np.uint8)
SMOOTH = np.linspace(40, 200, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint8)
ORIENTATION = 0x0112


def encoded(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    """Return an image as a file of a kind."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return the beginning of a one-bit PNG that says it has this size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


@pytest.mark.parametrize("options", [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})])
def test_lossless_colour_decodes_to_its_pixels(options: tuple[str, dict[str, Any]]) -> None:
    kind, arguments = options
    pixels = decode_image(encoded(RGB, kind, **arguments), "here")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, RGB)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_colour_decodes_to_nearly_its_pixels(kind: str) -> None:
    pixels = decode_image(encoded(SMOOTH, kind, quality=95), "here")
    assert pixels.shape == SMOOTH.shape
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= 8


def test_grey_stays_one_channel() -> None:
    np.testing.assert_array_equal(decode_image(encoded(GREY, "PNG"), "here")[:, :, 0], GREY)
    assert decode_image(encoded(GREY, "JPEG"), "here").shape == (6, 9, 1)


def test_one_bit_becomes_black_and_white() -> None:
    pixels = decode_image(encoded(Image.fromarray(GREY > 127), "PNG"), "here")
    np.testing.assert_array_equal(pixels[:, :, 0], np.where(GREY > 127, 255, 0))


def test_palette_becomes_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    pixels = decode_image(encoded(image, "PNG"), "here")
    np.testing.assert_array_equal(pixels, [[[10, 20, 30], [200, 100, 0]]])


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, RGB),
        (2, RGB[:, ::-1]),
        (3, RGB[::-1, ::-1]),
        (4, RGB[::-1]),
        (5, RGB.transpose(1, 0, 2)),
        (6, np.rot90(RGB, -1)),
        (7, RGB[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(RGB)),
    ],
)
def test_exif_orientation_is_undone(orientation: int, upright: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    np.testing.assert_array_equal(decode_image(encoded(RGB, "PNG", exif=exif), "here"), upright)


def test_exif_orientation_of_a_jpeg_is_undone() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    pixels = decode_image(encoded(SMOOTH, "JPEG", quality=95, exif=exif), "here")
    assert pixels.shape == (48, 32, 3)
    assert np.abs(pixels.astype(int) - np.rot90(SMOOTH, -1)).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_file_that_is_cut_short_is_refused_by_place(kind: str) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, kind)
    with pytest.raises(BadImageError, match=r"cats/1\.png cannot be decoded \(.+\): mend or rem"):
        decode_image(data[: len(data) // 2], "cats/1.png")


def test_empty_file_is_refused_by_place() -> None:
    with pytest.raises(BadImageError, match=r"row 7 cannot be decoded \(it is empty\)"):
        decode_image(b"", "row 7")


@pytest.mark.parametrize("data", [b"no image", b"\x89PNG\r\n\x1a\n", b"<svg></svg>", b"\0" * 99])
def test_file_that_is_no_image_is_refused_by_place(data: bytes) -> None:
    with pytest.raises(BadImageError, match=r"row 7 cannot be decoded \(.+\)"):
        decode_image(data, "row 7")


@pytest.mark.parametrize(
    ("width", "height"), [(8001, 8000), (64_000_001, 1), (9500, 9500), (60_000, 60_000)]
)
def test_image_of_too_many_pixels_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(BadImageError, match=re.escape("row 7 ")) as caught:
        decode_image(png_header(width, height), "row 7")
    assert "pixels" in str(caught.value)


def test_image_of_just_few_enough_pixels_is_refused_only_for_what_it_lacks() -> None:
    assert MAX_PIXELS == 8000 * 8000
    with pytest.raises(BadImageError, match=r"row 7 cannot be decoded \(.*(truncated|cut|broken)"):
        decode_image(png_header(8000, 8000), "row 7")


def test_grey_becomes_three_equal_channels_where_three_are_asked_for() -> None:
    np.testing.assert_array_equal(with_channels(GREY[:, :, None], 3), np.dstack([GREY] * 3))
    assert with_channels(RGB, 3) is RGB
    assert with_channels(GREY[:, :, None], 1).shape == (6, 9, 1)


def test_resize_to_the_same_size_changes_nothing() -> None:
    assert resize_crop(RGB, 6, 9) is RGB


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_crops_the_centre_where_no_scaling_is_needed(channels: int) -> None:
    pixels = RNG.integers(0, 256, (8, 16, channels), np.uint8)
    np.testing.assert_array_equal(resize_crop(pixels, 8, 8), pixels[:, 4:12])
    np.testing.assert_array_equal(
        resize_crop(pixels.transpose(1, 0, 2), 8, 8), pixels.transpose(1, 0, 2)[4:12]
    )


@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 40), (5, 20), (64, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_gives_the_size_that_is_asked_for(height: int, width: int, channels: int) -> None:
    pixels = np.full((20, 30, channels), 77, np.uint8)
    resized = resize_crop(pixels, height, width)
    assert (resized.shape, resized.dtype) == ((height, width, channels), np.uint8)
    assert (resized == 77).all()


def test_resize_averages_when_it_shrinks() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    resized = resize_crop(checks.astype(np.uint8)[:, :, None], 8, 8)
    assert np.abs(resized[1:-1, 1:-1].astype(int) - 127).max() <= 2


def test_resize_keeps_left_left_and_top_top() -> None:
    ramp = np.zeros((30, 60, 3), np.uint8)
    ramp[..., 0] = np.arange(60) * 4
    ramp[..., 1] = np.arange(30)[:, None] * 8
    resized = resize_crop(ramp, 10, 10).astype(int)
    assert (np.diff(resized[..., 0], axis=1) > 0).all()
    assert (np.diff(resized[..., 1], axis=0) > 0).all()
