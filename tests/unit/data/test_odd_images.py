"""Files that the decoder misreads, or does not know: told what they are, never guessed."""

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from accrete.data.images import decode_image
from accrete.errors import BadImageError

DEFLATE = 8
SIGNED, FLOATING = 2, 3


def tiff(
    values: NDArray[Any],
    sample_format: int = 1,
    *,
    order: str = "<",
    white: int | None = None,
    compression: int = 1,
    planes: int = 1,
) -> bytes:
    """Return a TIFF file of values (height, width) or (height, width, bands) of any type.

    Args:
        values: the pixels.
        sample_format: 1 unsigned, 2 signed, 3 floating-point.
        order: `<` or `>`, of bytes.
        white: 0 where 0 is white; None: 1, or 2 of three bands and more.
        compression: 1 none, 8 deflate, or what no decoder knows.
        planes: 1 pixel by pixel, 2 band by band.
    """
    cube = values if values.ndim == 3 else values[:, :, None]
    height, width, bands = cube.shape
    cube = cube.astype(cube.dtype.newbyteorder(order))
    parts = [np.ascontiguousarray(cube[..., band]) for band in range(bands)]
    strips = [part.tobytes() for part in parts] if planes == 2 else [cube.tobytes()]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    strips = [strip + b"\0" * (len(strip) % 2) for strip in strips]
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    tags = {
        **{256: [width], 257: [height], 258: [8 * values.itemsize] * bands, 259: [compression]},
        **{262: [(2 if bands > 2 else 1) if white is None else white], 273: starts, 277: [bands]},
        **{278: [height], 279: [len(strip) for strip in strips], 284: [planes]},
        339: [sample_format] * bands,
    }
    if bands > 3:
        tags[338] = [0] * (bands - 3)
    tags = dict(sorted(tags.items()))
    body = b"".join(strips)
    table_at = 8 + len(body)
    table, more = struct.pack(f"{order}H", len(tags)), b""
    for tag, numbers in tags.items():
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            at = table_at + 2 + 12 * len(tags) + 4 + len(more)
            more += packed
            packed = struct.pack(f"{order}I", at)
        table += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", table_at)
    return head + body + table + b"\0" * 4 + more


def refusal_of(data: bytes) -> str:
    with pytest.raises(BadImageError, match=r"^row 7 ") as caught:
        decode_image(data, "row 7")
    return str(caught.value)


GREY = np.arange(0, 65536, 1100, np.uint16).reshape(6, 10)
UNIT = (GREY / 65535).astype(np.float32)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_what_this_file_writes_is_read(order: str, compression: int) -> None:
    options: dict[str, Any] = {"order": order, "compression": compression}
    np.testing.assert_array_equal(decode_image(tiff(GREY, **options), "x")[..., 0], GREY // 257)
    colours = np.dstack([GREY, GREY[::-1], GREY])
    np.testing.assert_array_equal(decode_image(tiff(colours, **options), "x"), colours >> 8)


@pytest.mark.parametrize("high", [1e-6, 1e-30, 0.0019])
def test_floats_that_would_all_be_black_are_refused(high: float) -> None:
    words = refusal_of(tiff(np.array([[0, high]], np.float32), FLOATING))
    assert f"floating-point pixels of 0 to {high:g}, where 1 is white: all would be black" in words


def test_black_floats_are_black_and_dark_ones_dark() -> None:
    black = tiff(np.zeros((2, 2), np.float32), FLOATING)
    assert not decode_image(black, "x").any()
    dark = tiff(np.array([[0, 0.003]], np.float32), FLOATING)
    assert decode_image(dark, "x").ravel().tolist() == [0, 1]


def test_deep_greys_that_would_all_be_black_by_what_the_file_declares_are_refused() -> None:
    data = b"P5\n2 1\n65535\n" + np.array([0, 200], ">u2").tobytes()
    assert "has pixels of 0 to 200, where 65535 is white: all would be black" in refusal_of(data)


def test_numbers_that_are_none_are_called_so() -> None:
    levels = np.array([[0, np.nan]], np.float32)
    assert "pixels that are no numbers (NaN)" in refusal_of(tiff(levels, FLOATING))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_signed_pixels_are_refused_and_never_wrapped(order: str, compression: int) -> None:
    levels = np.array([[-128, -1, 0, 127]])
    for kind in (np.int8, np.int16, np.int32):
        data = tiff(levels.astype(kind), SIGNED, order=order, compression=compression)
        words = refusal_of(data)
        assert "signed" in words or "pixels of -128 to 127" in words


@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_unsigned_pixels_of_32_bits_are_refused_by_their_true_values(compression: int) -> None:
    data = tiff(np.array([[5, 2**31, 2**32 - 1]], np.uint32), compression=compression)
    assert "has pixels of 5 to 4294967295, of which only" in refusal_of(data)
    small = tiff(np.array([[5, 255]], np.uint32), compression=compression)
    assert decode_image(small, "x").ravel().tolist() == [5, 255]


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.int32])
def test_what_pillow_reads_in_the_wrong_byte_order_is_refused(kind: type) -> None:
    is_float = kind is np.float32
    levels = UNIT if is_float else np.array([[1, 2]], kind)
    data = tiff(levels, FLOATING if is_float else SIGNED, order=">", compression=DEFLATE)
    assert "compressed big-endian pixels that are signed or floating-point" in refusal_of(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_16_bits_are_decoded_or_refused(order: str) -> None:
    colours = np.dstack([GREY, GREY[::-1], GREY])
    plain = tiff(colours, order=order, planes=2)
    assert "pixels of 16 bits, stored in planes" in refusal_of(plain)
    packed = tiff(colours, order=order, planes=2, compression=DEFLATE)
    np.testing.assert_array_equal(decode_image(packed, "x"), colours >> 8)
    eight = (colours >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(tiff(eight, order=order, planes=2), "x"), eight)


@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_zero_is_white_where_the_file_says_so(compression: int) -> None:
    options: dict[str, Any] = {"white": 0, "compression": compression}
    eight = (GREY >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(tiff(eight, **options), "x")[..., 0], 255 - eight)
    deep = decode_image(tiff(GREY, **options), "x")[..., 0]
    np.testing.assert_array_equal(deep, 255 - GREY // 257)
    unit = decode_image(tiff(UNIT, FLOATING, **options), "x")[..., 0]
    np.testing.assert_array_equal(unit, 255 - np.rint(UNIT * 255))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff(np.zeros((4, 4, 5), np.uint8), white=1), "TIFF file of 5 bands of 8 bits"),
        (tiff(np.zeros((4, 4, 13), np.uint8)), "TIFF file of 13 bands of 8 bits"),
        (tiff(UNIT.astype(np.float16), 3), "TIFF file of 1 band of 16 floating-point bits"),
        (tiff(UNIT.astype(np.float64), 3), "TIFF file of 1 band of 64 floating-point bits"),
        (tiff(np.dstack([UNIT] * 3), 3), "TIFF file of 3 bands of 32 floating-point bits"),
        (tiff(GREY, order=">", white=0), "big-endian TIFF file of 1 band of 16 bits, where 0 is"),
        (tiff(GREY, compression=34712), "1 band of 16 bits, compressed by JPEG 2000"),
        (tiff(GREY, compression=60001), "1 band of 16 bits, compressed by method 60001"),
    ],
)
def test_a_tiff_of_a_kind_that_is_not_decoded_is_called_what_it_is(data: bytes, words: str) -> None:
    said = refusal_of(data)
    assert words in said
    assert "a kind that is not decoded, or it is damaged" in said


@pytest.mark.parametrize("length", [4, 8, 20])
def test_a_tiff_that_is_cut_short_is_damaged(length: int) -> None:
    assert "begins like a TIFF image, but is damaged or cut" in refusal_of(tiff(GREY)[:length])


def encoded(kind: str, **options: Any) -> bytearray:
    buffer = io.BytesIO()
    pixels = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (4, 12, r"\(it is a JPEG image of 12 bits, a kind that is not decoded, or it is damaged\)"),
        (1, 0xC3, r"\(broken data stream .*; it is a lossless JPEG image\)"),
        (1, 0xC5, r"\(broken data stream .*; it is a hierarchical JPEG image\)"),
        (1, 0xCB, r"\(broken data stream .*; it is a lossless, arithmetic-coded JPEG image\)"),
    ],
)
def test_a_jpeg_of_a_kind_that_is_not_decoded_is_called_what_it_is(
    offset: int, value: int, words: str
) -> None:
    data = encoded("JPEG")
    data[data.index(b"\xff\xc0") + offset] = value
    with pytest.raises(BadImageError, match=words):
        decode_image(bytes(data), "row 7")


def test_a_wrong_checksum_of_a_png_is_told() -> None:
    data = encoded("PNG")
    data[29] ^= 255
    assert "like a PNG image, but is damaged or cut short: broken PNG" in refusal_of(bytes(data))


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [(30, 9, "Unsupported BMP compression (9)"), (28, 2, "Unsupported BMP pixel depth (2)")],
)
def test_a_bmp_that_is_not_decoded_is_told_why(offset: int, value: int, words: str) -> None:
    data = encoded("BMP")
    data[offset] = value
    assert words in refusal_of(bytes(data))


def test_a_bmp_without_its_file_header_is_decoded() -> None:
    bmp, dib = (decode_image(bytes(encoded(kind)), "x") for kind in ("BMP", "DIB"))
    np.testing.assert_array_equal(bmp, dib)


def test_what_pillow_logs_stays_off_our_output() -> None:
    code = (
        "import logging, sys; from accrete.data.images import decode_image\n"
        "assert not logging.getLogger('PIL').handlers\n"
        "logging.basicConfig()\n"
        "try: decode_image(sys.stdin.buffer.read(), 'x')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=tiff(np.zeros((4, 4, 13), np.uint8)),
        capture_output=True,
        check=True,
    )
    assert (done.stderr, b"13 bands" in done.stdout) == (b"", True)
