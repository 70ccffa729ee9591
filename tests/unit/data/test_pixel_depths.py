"""What becomes eight bits: 12, 16 and 32 bits, floats, alpha, palettes and greys."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from accrete.data.images import decode_image
from accrete.errors import BadImageError

RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
GREY = RNG.integers(0, 256, (6, 9), np.uint8)


def encoded(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """Return an image as a file of a kind."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey_of(data: bytes) -> NDArray[np.uint8]:
    """Return a file's pixels (height, width), of which it must have one channel."""
    pixels = decode_image(data, "here")
    assert pixels.shape[2] == 1
    return pixels[:, :, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@given(levels=arrays(np.uint16, (2, 3)), high=st.integers(4096, 65535))
def test_sixteen_bits_are_divided_by_257(kind: str, levels: NDArray[np.uint16], high: int) -> None:
    levels[0, 0] = high
    np.testing.assert_array_equal(grey_of(encoded(levels, kind)), levels // 257)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@given(levels=arrays(np.uint16, (2, 3), elements=st.integers(0, 4095)), high=st.integers(256, 4095))
def test_twelve_bits_in_sixteen_are_divided_by_their_own_range(
    kind: str, levels: NDArray[np.uint16], high: int
) -> None:
    levels[0, 0] = high
    expected = levels.astype(int) * 255 // 4095
    np.testing.assert_array_equal(grey_of(encoded(levels, kind)), expected)


@pytest.mark.parametrize(("kind", "depth"), [("PNG", np.uint16), ("TIFF", np.int32)])
@given(levels=arrays(np.uint8, (2, 3)))
def test_eight_bits_in_more_stay_as_they_are(
    kind: str, depth: type, levels: NDArray[np.uint8]
) -> None:
    np.testing.assert_array_equal(grey_of(encoded(levels.astype(depth), kind)), levels)


def test_a_camera_s_twelve_bits_keep_their_order_from_file_to_file() -> None:
    dark, light = (grey_of(encoded(np.full((4, 4), n, np.uint16)))[0, 0] for n in (900, 2900))
    assert (dark, light) == (56, 180)


def tiff_of_twelve_bits(levels: list[int]) -> bytes:
    """Return a TIFF file of one row that says that its pixels have 12 bits, an even number."""
    packed = b"".join(
        ((first << 12) | second).to_bytes(3, "big")
        for first, second in zip(levels[::2], levels[1::2], strict=True)
    )
    tags = {256: len(levels), 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1}
    tags[279] = len(packed)
    packed += b"\0" * (len(packed) % 2)
    directory = struct.pack("<H", len(tags))
    for tag, value in tags.items():
        directory += struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
    return struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + directory + b"\0" * 4


def test_a_tiff_s_declared_twelve_bits_are_its_range_however_dark_it_is() -> None:
    assert grey_of(tiff_of_twelve_bits([0, 16, 100, 200])).tolist() == [[0, 0, 6, 12]]
    assert grey_of(tiff_of_twelve_bits([0, 900, 2900, 4095])).tolist() == [[0, 56, 180, 255]]


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_integers_of_no_known_range_are_refused_by_value(value: int) -> None:
    data = encoded(np.array([[0, value]], np.int32), "TIFF")
    with pytest.raises(BadImageError, match=rf"row 7 has pixels of .*{value}\b.*0 to 65535"):
        decode_image(data, "row 7")


def netpbm(kind: bytes, levels: NDArray[Any], maximum: int) -> bytes:
    """Return a PGM or PPM file that declares a maximum."""
    height, width = levels.shape[:2]
    head = b"%b\n%d %d\n%d\n" % (kind, width, height, maximum)
    return head + levels.astype(">u2" if maximum > 255 else "u1").tobytes()


@pytest.mark.parametrize("maximum", [15, 255, 1023, 4095, 65535])
def test_netpbm_s_declared_maximum_is_white_whatever_the_file_holds(maximum: int) -> None:
    levels = np.array([[0, maximum // 20, maximum // 3]])
    expected = levels / maximum * 255
    grey = grey_of(netpbm(b"P5", levels, maximum)).astype(int)
    assert np.abs(grey - expected).max() <= 1
    colours = np.stack([levels] * 3, 2)
    colour = decode_image(netpbm(b"P6", colours, maximum), "here").astype(int)
    assert np.abs(colour[:, :, 0] - expected).max() <= 1


def deep_png(values: NDArray[np.uint16], colour_type: int) -> bytes:
    """Return a PNG of 16 bits a channel, which Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def test_sixteen_bit_colours_keep_their_upper_byte() -> None:
    values = RNG.integers(0, 65536, (4, 5, 3), np.uint16)
    np.testing.assert_array_equal(decode_image(deep_png(values, 2), "here"), values >> 8)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_twelve_bits_in_sixteen_are_refused_rather_than_black(
    colour_type: int, channels: int
) -> None:
    values = RNG.integers(0, 4096, (4, 5, channels), np.uint16)
    if channels != 3:
        values[:, :, -1] = 65535
    with pytest.raises(BadImageError, match=r"row 7 has 16-bit colours .* under 4096"):
        decode_image(deep_png(values, colour_type), "row 7")


def test_sixteen_bits_of_grey_with_alpha_stay_grey() -> None:
    values = RNG.integers(4096, 65536, (4, 5, 2), np.uint16)
    values[..., 1] = 65535
    values[0, 0, 1] = 0
    expected = values[..., 0] >> 8
    expected[0, 0] = 255
    np.testing.assert_array_equal(grey_of(deep_png(values, 4)), expected)


def test_floats_of_0_to_1_become_0_to_255() -> None:
    levels = np.array([[0, 0.25, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(grey_of(encoded(levels, "TIFF")), [[0, 64, 128, 255]])


@pytest.mark.parametrize("value", [-0.1, 1.5, 255, float("inf")])
def test_floats_of_no_known_range_are_refused_by_place(value: float) -> None:
    data = encoded(np.array([[0, value]], np.float32), "TIFF")
    with pytest.raises(BadImageError, match=r"row 7 has floating-point pixels of .* 0 to 1 "):
        decode_image(data, "row 7")


@given(rgba=arrays(np.uint8, (3, 4, 4)))
def test_what_is_transparent_shows_white(rgba: NDArray[np.uint8]) -> None:
    colour, alpha = rgba[:, :, :3].astype(int), rgba[:, :, 3:].astype(int)
    expected = np.rint((colour * alpha + 255 * (255 - alpha)) / 255)
    np.testing.assert_array_equal(decode_image(encoded(rgba), "here"), expected)


@given(grey=arrays(np.uint8, (3, 4, 2)))
def test_grey_with_alpha_stays_grey(grey: NDArray[np.uint8]) -> None:
    level, alpha = grey[:, :, 0].astype(int), grey[:, :, 1].astype(int)
    expected = np.rint((level * alpha + 255 * (255 - alpha)) / 255)
    np.testing.assert_array_equal(grey_of(encoded(Image.fromarray(grey, "LA"))), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_opaque_is_as_it_was_without_alpha(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    rgba = np.dstack([RGB, np.full((6, 9), 255, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(rgba, kind, **options), "here"), RGB)


def test_a_transparent_entry_of_a_palette_shows_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 0, 255, 0, 255])
    for index in range(3):
        image.putpixel((index, 0), index)
    expected = [[[10, 20, 30], [200, 100, 0], [255, 255, 255]]]
    for kind in ("PNG", "GIF"):
        data = encoded(image, kind, transparency=2)
        np.testing.assert_array_equal(decode_image(data, "here"), expected)
    half = decode_image(encoded(image, transparency=b"\xff\xff\x80"), "here")
    np.testing.assert_array_equal(half[0, 2], [255, 127, 255])


def test_a_transparent_colour_shows_white() -> None:
    colours = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    data = encoded(colours, transparency=(4, 5, 6))
    np.testing.assert_array_equal(decode_image(data, "here"), [[[1, 2, 3], [255, 255, 255]]])
    greys = np.array([[7, 8]], np.uint8)
    np.testing.assert_array_equal(grey_of(encoded(greys, transparency=8)), [[7, 255]])
    deep = np.array([[7, 8]], np.uint16)
    np.testing.assert_array_equal(grey_of(encoded(deep, transparency=8)), [[7, 255]])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_of_greys_is_grey(kind: str) -> None:
    image = Image.fromarray(GREY).convert("P")
    np.testing.assert_array_equal(grey_of(encoded(image, kind)), GREY)


def test_a_palette_of_greys_stays_grey_with_colours_that_nothing_has() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([250, 0, 0, 9, 9, 9])
    np.testing.assert_array_equal(grey_of(encoded(image)), [[9, 9]])
    image.putpixel((0, 0), 0)
    assert decode_image(encoded(image), "here").shape == (1, 2, 3)
    hidden = decode_image(encoded(image, transparency=0), "here")
    np.testing.assert_array_equal(hidden, [[[255], [9]]])


def test_grey_pixels_in_rgb_stay_rgb() -> None:
    pixels = decode_image(encoded(np.dstack([GREY] * 3)), "here")
    np.testing.assert_array_equal(pixels, np.dstack([GREY] * 3))


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")])
def test_other_colours_become_rgb_as_pillow_has_it(mode: str, kind: str) -> None:
    data = encoded(Image.fromarray(RGB).convert(mode), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data, "here"), expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_image(data, "here")[0, 0].tolist() == [250, 0, 0]
