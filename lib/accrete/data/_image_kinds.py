"""Which image formats are decoded, by which names and first bytes, and what other files are.

What a file is shows in its first bytes; its name only says that somebody meant an image by it.
"""

import importlib.util
import logging
from functools import cache

from PIL import Image, features

from accrete.core.untrusted import HEAD_BYTES, pickle_kind

KINDS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are always decoded. Pillow knows more, one of which runs another program (EPS)."""

_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_CONTAINER_BRANDS = frozenset((b"mif1", b"msf1"))
"""Of either: what is inside stands in the brands that follow."""

_BEGINNINGS = (b"GIF87a", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_BMP_BITS = (1, 4, 8, 16, 24, 32)
_NETPBM = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")


@cache
def decoded_kinds() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are decoded here, with this installation.

    AVIF is where Pillow was built with it, HEIC where pillow-heif is installed. Asked before any
    image is opened, which is when Pillow begins to log, too.
    """
    _keep_logs_off()
    kinds: tuple[str, ...] = KINDS
    if features.check("avif"):
        kinds += ("AVIF",)
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
        kinds += ("HEIF",)
    return kinds


def _keep_logs_off() -> None:
    """Have what Pillow logs of a bad image stay out of our output, where one line tells of it."""
    logger = logging.getLogger("PIL")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, `.png` and so on in lower case, of files that are decoded here."""
    kinds = {*decoded_kinds(), "MPO"}  # a JPEG file with another one behind it
    suffixes = Image.registered_extensions()
    return frozenset(suffix.lower() for suffix, kind in suffixes.items() if kind in kinds)


def looks_like_image(head: bytes) -> bool:
    """Return whether a file begins like one of a format that is decoded here.

    Args:
        head: the file's first 32 bytes or more, or all that it has.
    """
    if head.startswith(_BEGINNINGS) or head.startswith(_TIFF_BEGINNINGS):
        return True
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES
    if head.startswith(_NETPBM):
        return head[2:3].isspace() or head[2:3] == b"#"
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    brands = _brands(head)
    if brands & _AVIF_BRANDS:
        return "AVIF" in decoded_kinds()
    return (bool(brands & _HEIC_BRANDS) and "HEIF" in decoded_kinds()) or _is_dib(head)


def _is_dib(head: bytes) -> bool:
    """Return whether a file begins like a BMP file without its file header.

    Its first four bytes alone are common, and so all that is fixed in it is looked at.
    """
    size = int.from_bytes(head[:4], "little")
    if size not in _BMP_HEADER_SIZES or len(head) < 26:
        return False
    is_old = size == 12
    planes, bits = (
        int.from_bytes(head[at : at + 2], "little") for at in ((8, 10) if is_old else (12, 14))
    )
    compression = 0 if is_old else int.from_bytes(head[16:20], "little")
    sides = (head[4:6], head[6:8]) if is_old else (head[4:8], head[8:12])
    return planes == 1 and bits in _BMP_BITS and compression <= 5 and all(map(any, sides))


def _brands(head: bytes) -> frozenset[bytes]:
    """Return the brands of a file in the ISO's container; of others, none."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], [head[first : first + 4] for first in range(16, end, 4)]
    return frozenset((major, *others)) if major in _CONTAINER_BRANDS else frozenset((major,))


def what_it_is(data: bytes) -> str | None:
    """Return in a few words what a file is that was taken for an image, None where it may be one.

    Args:
        data: the whole file.
    """
    head = data[:_HEAD_BYTES]
    if not head:
        return "it is empty"
    pickled = pickle_kind(head[:HEAD_BYTES])
    if pickled is not None:
        return f"it is {pickled}, which is never loaded"
    if looks_like_image(head):
        return None
    if not head.strip(b"\0") and not data.strip(b"\0"):
        return "it is nothing but zero bytes"
    known = (words for at, start, words in _FOREIGN if head.startswith(start, at))
    found = next(known, None) or _in_container(head) or _written(head)
    return found and f"it is {found}"


_HEAD_BYTES = 1024
"""A drawing's first tag may come after a comment."""

_FOREIGN = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself; run git lfs pull"),
    (0, b"\0\5\x16\7", "an AppleDouble file, in which macOS keeps what belongs to another file"),
    (0, b"\0\0\0\1Bud1", "a .DS_Store, which macOS leaves in folders"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript drawing"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript drawing"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 image, a kind that is not decoded"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image, a kind that is not decoded"),
    (0, b"\0\0\0\x0cJXL \r\n", "a JPEG XL image, a kind that is not decoded"),
    (0, b"\xff\x0a", "a JPEG XL image, a kind that is not decoded"),
    (0, b"\0\0\1\0", "an icon (.ico), a kind that is not decoded"),
    (0, b"DDS ", "a DirectDraw surface, a kind that is not decoded"),
    (0, b"qoif", "a QOI image, a kind that is not decoded"),
    (0, b"v/1\1", "an OpenEXR image, a kind that is not decoded"),
    (0, b"#?RADIANCE", "a Radiance image, a kind that is not decoded"),
    (0, b"SIMPLE  =", "a FITS file, a kind that is not decoded"),
    (128, b"DICM", "a DICOM file, a kind that is not decoded"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"PAR1", "a Parquet file; give it with --source parquet"),
    (0, b"ARROW1", "an Arrow file"),
    (0, b"PK\3\4", "a zip archive; unpack it"),
    (0, b"PK\5\6", "an empty zip archive"),
    (0, b"\x1f\x8b", "a gzip file; unpack it"),
    (0, b"BZh", "a bzip2 file; unpack it"),
    (0, b"\xfd7zXZ\0", "an xz file; unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    (0, b"Rar!\x1a\7", "a RAR archive; unpack it"),
    (257, b"ustar", "a tar archive; unpack it"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\xd0\xcf\x11\xe0", "an OLE file, such as a Thumbs.db of Windows"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a sound file"),
    (0, b"\0\0\1\xba", "an MPEG video"),
    (0, b"\x7fELF", "a program"),
    (0, b"iVBORw0KGgo", "base64 text of an image, not its bytes"),
    (0, b"/9j/", "base64 text of an image, not its bytes"),
    (0, b"data:image/", "an image's data: address, not its bytes"),
)
"""Offset, bytes that are there, and what has them."""


def _in_container(head: bytes) -> str | None:
    """Return what a file in the ISO's container holds; of others, None."""
    brands = _brands(head)
    if brands & _HEIC_BRANDS:
        return "a HEIC image; install pillow-heif: pip install 'accrete[heif]'"
    if brands & _AVIF_BRANDS:
        return "an AVIF image, which this Pillow was built without"
    if brands & {b"crx "}:
        return "a Canon raw image, a kind that is not decoded"
    return "an MP4 or QuickTime video" if brands else None


def _written(head: bytes) -> str | None:
    """Return what a text is; of what is none, None."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    # The last character may have been cut in two.
    if any(not (c.isprintable() or c.isspace()) or c == "\ufffd" for c in text[:-1]):
        return None
    begin = text.lstrip().lower()
    if "<svg" in begin:
        return "an SVG drawing, a kind that is not decoded"
    if begin.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "an HTML page, as servers send in place of a file that is not there"
    if begin.startswith("<?xml"):
        return "an XML document"
    return "text" if text else None
