"""The header of MNIST's format: element type, number of dimensions, sizes, big-endian."""

import math
from dataclasses import dataclass
from typing import IO

from accrete.config.image_format import MAX_PIXELS
from accrete.core.untrusted import HEAD_BYTES, pickle_kind
from accrete.data._image_kinds import what_it_is
from accrete.data.sources.files import Files
from accrete.data.sources.ranges import GZIP_RATIO, opened, size_of
from accrete.errors import SourceError

_MAX_IMAGES = 100_000_000
_UNSIGNED_BYTE = 0x08
_OTHER_TYPES = {
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "floating-point numbers",
    0x0E: "64-bit floating-point numbers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IdxFile:
    """An array of unsigned bytes."""

    name: str
    """Of the file."""
    is_gzip: bool
    """Whether it is to be unpacked."""
    shape: tuple[int, ...]
    """Sizes."""

    @property
    def start(self) -> int:
        """Where the first element lies, in bytes."""
        return 4 + 4 * len(self.shape)

    @property
    def num_bytes(self) -> int:
        """Of the whole file, unpacked."""
        return self.start + math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Of one image or label."""
        return math.prod(self.shape[1:])


def image_header(files: Files, name: str) -> IdxFile:
    """Return the header of a file of images (N, height, width) or (N, height, width, channels).

    Raises:
        SourceError: it is no such file, is cut short, or says that it has more than can be in it.
    """
    found = _header(files, name)
    place = f"{files.root}/{name}"
    if len(found.shape) not in (3, 4) or (len(found.shape) == 4 and found.shape[3] not in (1, 3)):
        raise SourceError(
            f"{place} has the sizes {_shown(found.shape)}: images have (number, height, width), or "
            "with 1 or 3 channels after that; write it so"
        )
    if found.shape[0] > _MAX_IMAGES:
        raise SourceError(
            f"{place} says that it has {found.shape[0]:,} images, over the limit of "
            f"{_MAX_IMAGES:,}: it is damaged, or to be made smaller"
        )
    if 0 in found.shape:
        raise SourceError(f"{place} has no image, its sizes are {_shown(found.shape)}: remove it")
    if math.prod(found.shape[1:3]) > MAX_PIXELS:
        raise SourceError(
            f"{place} has images of {_shown(found.shape[1:3])} pixels, over the limit of "
            f"{MAX_PIXELS:,}: it is damaged, or to be scaled down"
        )
    return found


def idx_labels(files: Files, name: str, num_images: int) -> tuple[IdxFile, bytes]:
    """Return a file of labels, a byte each.

    Raises:
        SourceError: it is no such file, is cut short, or has another number of labels.
    """
    found = _header(files, name)
    place = f"{files.root}/{name}"
    if len(found.shape) != 1:
        raise SourceError(
            f"{place} has the sizes {_shown(found.shape)}: labels have one; write it so"
        )
    if found.shape[0] != num_images:
        raise SourceError(
            f"{place} has {found.shape[0]:,} labels for {num_images:,} images: the two files are "
            "not of one set; write or download both again"
        )
    with opened(files, name) as (stream, _):
        stream.read(found.start)
        return found, _exactly(stream, num_images, place)


def check_content(files: Files, file: IdxFile) -> None:
    """Read a gzip file to its end, as its header alone tells nothing of its length.

    Raises:
        SourceError: it is damaged, or has another length than its header says.
    """
    if not file.is_gzip:
        return
    with opened(files, file.name) as (stream, _):
        num_bytes = 0
        while data := stream.read(1 << 20):
            num_bytes += len(data)
            if num_bytes > file.num_bytes:
                break
    _check_length(
        num_bytes, file, f"{files.root}/{file.name}", "over " * (num_bytes > file.num_bytes)
    )


def _header(files: Files, name: str) -> IdxFile:
    place = f"{files.root}/{name}"
    stored_bytes = size_of(files, name)
    with opened(files, name) as (stream, is_gzip):
        head = stream.read(HEAD_BYTES)
    if pickle_kind(head) is not None or len(head) < 4 or head[:2] != b"\0\0":
        what = what_it_is(head) or f"it begins with {head[:4]!r}"
        raise SourceError(
            f"{place} is no idx file ({what}): write or download it again, or leave it out with "
            "--exclude"
        )
    if head[2] != _UNSIGNED_BYTE:
        what = _OTHER_TYPES.get(head[2], f"elements of type 0x{head[2]:02x}")
        raise SourceError(f"{place} has {what}: only unsigned bytes (type 0x08) are read")
    num_dimensions = head[3]
    if not 1 <= num_dimensions <= 4 or len(head) < 4 + 4 * num_dimensions:
        raise SourceError(
            f"{place} says that it has {num_dimensions} dimensions, in {len(head):,} bytes: it is "
            "damaged; write or download it again"
        )
    sizes = (head[at : at + 4] for at in range(4, 4 + 4 * num_dimensions, 4))
    shape = tuple(int.from_bytes(size, "big") for size in sizes)
    found = IdxFile(name=name, is_gzip=is_gzip, shape=shape)
    if not is_gzip:
        _check_length(stored_bytes, found, place)
    elif found.num_bytes > GZIP_RATIO * stored_bytes:
        _check_length(GZIP_RATIO * stored_bytes, found, place, "at most ")
    return found


def _check_length(num_bytes: int, file: IdxFile, place: str, how: str = "") -> None:
    if num_bytes == file.num_bytes and not how:
        return
    packed = " unpacked" if file.is_gzip else ""
    raise SourceError(
        f"{place} has {how}{num_bytes:,} bytes{packed}, for its sizes {_shown(file.shape)} it must "
        f"have {file.num_bytes:,}: it is cut short or damaged; write or download it again"
    )


def _exactly(stream: IO[bytes], num_bytes: int, place: str) -> bytes:
    data = stream.read(num_bytes + 1)
    if len(data) != num_bytes:
        more = "over " if len(data) > num_bytes else ""
        raise SourceError(
            f"{place} has {more}{min(len(data), num_bytes):,} bytes of labels, its header says "
            f"{num_bytes:,}: it is cut short or damaged; write or download it again"
        )
    return data


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
