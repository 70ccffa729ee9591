"""Why a file that begins like an image is not decoded: damaged, or of a kind that nothing decodes.

Looked at only after the decoder gave up. What the file says of itself is believed; that it may be
damaged all the same is said, too.
"""

import io
import struct
import warnings
from typing import Any

from PIL import Image

from accrete.core.units import format_counted
from accrete.data._image_kinds import decoded_kinds

_TIFF_FORMATS = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex floating-point "}
_TIFF_COMPRESSIONS = {1: "", 6: "old JPEG", 34661: "JBIG", 34712: "JPEG 2000", 50002: "JPEG XL"}
_WITHOUT_WORDS = (struct.error, IndexError, TypeError, KeyError, EOFError)
"""Of what a decoder stumbles upon, these speak of its own code."""


def why_unopened(data: bytes) -> str:
    """Return why no decoder takes a file that begins like an image, in a few words."""
    kind = described(data)
    if kind is not None:
        return f"it is {kind}, a kind that is not decoded, or it is damaged"
    name, words = _decoder_s_words(data)
    detail = f": {words}" if words else ""
    return f"it begins like {name}, but is damaged or cut short{detail}"


def why_stopped(data: bytes, words: str) -> str:
    """Return why a decoder gave up, in a few words: its own, and what the file is where that tells.

    Args:
        data: the whole file.
        words: the decoder's.
    """
    kind = None if "truncated" in words.lower() else described(data)
    return f"{words}; it is {kind}" if kind else words


def described(data: bytes) -> str | None:
    """Return what a TIFF or JPEG file says that it is, None where it says nothing unusual."""
    if data.startswith((b"II", b"MM")):
        return _tiff(data)
    return _jpeg(data) if data.startswith(b"\xff\xd8") else None


def _decoder_s_words(data: bytes) -> tuple[str, str | None]:
    """Return the name of what a file begins like, and what its decoder says of it."""
    for kind in decoded_kinds():
        factory, accept = Image.OPEN[kind]
        # Some look at more bytes than a file that is cut short has.
        if accept is None or accept(data[:16].ljust(16, b"\0")) is not True:
            continue
        words = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                factory(io.BytesIO(data), "")
        except Exception as error:  # Pillow's decoders raise nearly anything on bad bytes
            if not isinstance(error.__cause__ or error, _WITHOUT_WORDS):
                words = str(error).partition("\n")[0]
        return f"{'an' if kind == 'AVIF' else 'a'} {kind} image", words
    return "an image", None


def _tiff(data: bytes) -> str | None:
    try:
        tags = _tiff_tags(data)
        width, height = int(tags[256]), int(tags[257])
        bits = tags.get(258, (1,))
        num_bands = int(tags.get(277, len(bits)))
        sample_format = _TIFF_FORMATS.get(max(tags.get(339, (1,))), "")
        compression = int(tags.get(259, 1))
        is_white_zero = tags.get(262) == 0
    except Exception:  # of what is damaged anything may be anything
        return None
    if min(width, height, num_bands) < 1:
        return None
    deep = "/".join(str(each) for each in sorted(set(bits))[:4])
    packed = _compression(compression)
    return (
        f"a{' big-endian' if data.startswith(b'MM') else ''} TIFF file of "
        f"{format_counted(num_bands, 'band')} of {deep} {sample_format}bits"
        f"{', where 0 is white' if is_white_zero else ''}"
        f"{f', compressed by {packed}' if packed else ''}"
    )


def _tiff_tags(data: bytes) -> Any:
    """Return the tags of a TIFF file's first image."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    is_big = 43 in data[2:4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = ImageFileDirectory_v2(data[: 16 if is_big else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
    return tags


def _compression(number: int) -> str:
    """Return the name of a TIFF file's compression where it may be the reason, else ``."""
    from PIL.TiffImagePlugin import COMPRESSION_INFO

    known = "" if number in COMPRESSION_INFO else f"method {number}"
    return _TIFF_COMPRESSIONS.get(number, known)


def _jpeg(data: bytes) -> str | None:
    at = 2
    while data[at : at + 1] == b"\xff" and at + 10 <= len(data):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _jpeg_of_frame(marker, bits=data[at + 4], num_colours=data[at + 9])
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _jpeg_of_frame(marker: int, *, bits: int, num_colours: int) -> str | None:
    kinds = []
    if marker & 3 == 3:
        kinds.append("lossless")
    if marker & 4:
        kinds.append("hierarchical")
    if marker & 8:
        kinds.append("arithmetic-coded")
    of = [f"of {bits} bits"] if bits != 8 else []
    if num_colours not in (1, 3, 4):
        of.append(f"of {format_counted(num_colours, 'colour')}")
    if not kinds and not of:
        return None
    first = "an" if kinds[:1] == ["arithmetic-coded"] else "a"
    return " ".join([first, *([", ".join(kinds)] if kinds else []), "JPEG image", *of])
