"""Which files are images: by suffix, by their first bytes, and what others are said to be."""

import gzip
import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from accrete.data import _image_kinds
from accrete.data.images import decode_image, image_suffixes, looks_like_image
from accrete.errors import BadImageError

SMOOTH = np.linspace(40, 200, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint8)
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
needs_heif = pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """Return an image as a file of a kind."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = [
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("DIB", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("GIF", mode) for mode in ("L", "P")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("PNG", mode) for mode in ("1", "LA", "RGBA", "I;16")),
    *(("PPM", mode) for mode in ("1", "L", "RGB", "I;16", "F")),
    *(("TIFF", mode) for mode in ("L", "RGB", "F")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    pytest.param("AVIF", "RGB", marks=needs_avif),
    pytest.param("HEIF", "RGB", marks=needs_heif),
]


@pytest.mark.parametrize(("kind", "mode"), FILES)
def test_what_is_decoded_begins_like_an_image(kind: str, mode: str) -> None:
    assert looks_like_image(encoded(kind, mode)[:32])


@pytest.mark.parametrize("options", [{"big_tiff": True}, {"compression": "tiff_lzw"}])
def test_other_tiff_files_begin_like_an_image(options: dict[str, Any]) -> None:
    data = encoded("TIFF", **options)
    assert looks_like_image(data[:32])
    np.testing.assert_array_equal(decode_image(data, "here"), SMOOTH)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\0" * 32, b"P", b"P5", b"P8\n1 1\n", b"PK\3\4", b"BM is a text", b"II"),
        *(b"\x28\0\0\0" * 8, b"\x0c\0\0\0\1\0\1\0\1\0", b"\x0c" + b"\0" * 40),
        *(b"%PDF-1.7", b"<svg></svg>", b"PAR1", b"RIFF\0\0\0\0AVI "),
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
    ],
)
def test_what_is_none_does_not_begin_like_an_image(data: bytes) -> None:
    assert not looks_like_image(data)


@given(st.binary(max_size=64))
def test_any_bytes_are_told_or_not(data: bytes) -> None:
    with pytest.raises(BadImageError, match="row 7 cannot be decoded"):
        decode_image(data, "row 7")
    assert looks_like_image(data) in (True, False)


@pytest.mark.parametrize("kind", ["BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_the_begin_of_an_image_is_told_whatever_its_length(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).save(stream, kind)
    for length in range(min(80, len(stream.getvalue()))):
        with pytest.raises(BadImageError, match="row 7 cannot be decoded"):
            decode_image(stream.getvalue()[:length], "row 7")


def test_suffixes_are_those_of_all_that_is_decoded() -> None:
    always = ".bmp .dib .gif .jpg .jpeg .jpe .jfif .png .apng .ppm .pgm .pbm .pnm .tif .tiff .webp"
    assert set(always.split()) <= image_suffixes()
    assert (".avif" in image_suffixes()) == features.check("avif")
    assert ({".heic", ".heif"} <= image_suffixes()) == HAS_HEIF
    assert not image_suffixes() & {".eps", ".pdf", ".svg", ".mp4", ".txt", ".npy", ""}
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in image_suffixes())


@pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=needs_avif), "WEBP"])
def test_lossy_files_decode_to_nearly_their_pixels(kind: str) -> None:
    pixels = decode_image(encoded(kind, quality=95), "here").astype(int)
    assert np.abs(pixels - SMOOTH).max() <= 8


@needs_heif
def test_heic_decodes_upright_to_nearly_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("HEIF", quality=95, exif=exif.tobytes())
    pixels = decode_image(data, "here").astype(int)
    assert pixels.shape == (48, 32, 3)
    assert np.abs(pixels - np.rot90(SMOOTH, -1)).max() <= 8


@needs_heif
def test_heic_that_is_cut_short_is_refused_by_place() -> None:
    data = encoded("HEIF")
    with pytest.raises(BadImageError, match=r"row 7 cannot be decoded \("):
        decode_image(data[: len(data) // 2], "row 7")


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installation without pillow-heif, whatever this one has."""
    monkeypatch.setattr(_image_kinds.importlib.util, "find_spec", lambda _: None)
    _image_kinds.decoded_kinds.cache_clear()
    _image_kinds.image_suffixes.cache_clear()
    yield
    _image_kinds.decoded_kinds.cache_clear()
    _image_kinds.image_suffixes.cache_clear()


@pytest.mark.usefixtures("without_heif")
def test_heic_says_what_decodes_it_where_nothing_does() -> None:
    assert not looks_like_image(HEIC_HEAD)
    assert ".heic" not in image_suffixes()
    with pytest.raises(BadImageError, match=r"x\.heic .*it is a HEIC image; install pillow-heif"):
        decode_image(HEIC_HEAD, "x.heic")


def zipped() -> bytes:
    """Return a zip archive of a text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "text")
    return buffer.getvalue()


def numpy_file() -> bytes:
    """Return what numpy.save writes."""
    buffer = io.BytesIO()
    np.save(buffer, SMOOTH)
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LFS, "a Git LFS pointer, not the file itself; run git lfs pull"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "an AppleDouble file"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"\n<HTML lang=en>", "an HTML page"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript drawing"),
        (b'<?xml version="1.0"?>\n<svg width="9">', "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey', "an XML document"),
        (zipped(), "a zip archive"),
        (gzip.compress(b"text", mtime=0), "a gzip file"),
        (numpy_file(), "a numpy array file, which may hold a pickle, which is never loaded"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "an MP4 or QuickTime video"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"PAR1\x15\4", "a Parquet file"),
        (b"\0" * 128 + b"DICM", "a DICOM file"),
        (b"\0" * 5000, "nothing but zero bytes"),
        (b"iVBORw0KGgoAAAANSUhEUgAA", "base64 text of an image"),
        ("caf\u00e9\n".encode() * 300, "text"),
        (b"404: Not Found", "text"),
    ],
)
def test_other_files_are_called_what_they_are(data: bytes, words: str) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_image(data, "x.png")
    assert str(caught.value).startswith(f"x.png cannot be decoded (it is {words}")


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_the_beginning_of_an_image_alone_is_damaged(data: bytes) -> None:
    with pytest.raises(BadImageError, match="image, but is damaged or cut short"):
        decode_image(data, "x.png")


def test_bytes_that_nothing_tells_are_none_of_what_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="it is no BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file"):
        decode_image(bytes(range(200, 256)), "x.png")
