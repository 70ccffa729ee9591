"""The files in a tar archive and where their bytes lie; nothing is unpacked.

The headers are read by Python's `tarfile`. It would read as much of a header as that says it has,
keeps each one, and takes a damaged header for the archive's end: all that is held here.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, cast

from accrete.data._image_kinds import what_it_is
from accrete.errors import AccreteError, SourceError

_BLOCK = tarfile.BLOCKSIZE
_MAGIC_AT = 257
"""Where `ustar` stands in a header."""

_MAX_HEADER_BYTES = 64 << 10
"""Of one file: a path of 4 KB takes 6; tarfile is slow on what is longer."""

_MAX_GLOBALS = 100
_MAX_END_BYTES = 1 << 20
"""Zeros after the end that are looked at; tar pads to 10 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive."""

    name: str
    """Its path there."""
    start: int
    """Where its content begins in the archive, in bytes; a hard link's is the file's it names."""
    num_bytes: int
    """Of its content."""
    lacks: str | None = None
    """What it is in place of a file with content: a link, no regular file."""
    is_hard_link: bool = False
    """Whether its content lies before it, where another file's is."""


def members(stream: IO[bytes], place: str) -> Iterator[Member]:
    """Yield the files of an archive in its order, links and devices among them; no folders.

    The stream may be read from between two of them, up to the end of the last one's content.

    Raises:
        SourceError: it is no tar archive, damaged, cut short, or made to fill the memory; a hard
            link names no file before it.
    """
    headers = _Headers(stream)
    try:
        tar = cast("Any", tarfile.TarFile(fileobj=cast("Any", headers)))
        yield from _members(tar, headers, stream, place)
    except (AccreteError, MemoryError):
        raise
    except Exception as error:  # tarfile raises nearly anything on bad bytes
        raise _damaged(stream, error, place) from error
    _check_end(stream, tar.offset, place)


def _members(
    tar: Any,  # it has no name for what it keeps of headers
    headers: "_Headers",
    stream: IO[bytes],
    place: str,
    stop: int | None = None,
) -> Iterator[Member]:
    """Yield the files whose headers begin before `stop`."""
    before: dict[str, Member] | None = None  # by name, from the first hard link on
    while (found := _next(tar, headers)) is not None:
        if found.offset == stop:
            return
        tar.members = []
        _check(tar, found, place)
        if found.isdir():
            continue
        if found.islnk():
            if before is None:
                before = _files_before(found.offset, stream, place)
            member = _linked(found, before, place)
        else:
            lacks = None if found.isreg() else "a link" if found.issym() else "no regular file"
            member = Member(
                name=found.name, start=found.offset_data, num_bytes=found.size, lacks=lacks
            )
        if before is not None:
            before[member.name] = member
        yield member


def _files_before(offset: int, stream: IO[bytes], place: str) -> dict[str, Member]:
    """Return an archive's files before a hard link by name: nothing is kept where there is none."""
    stream.seek(0)
    headers = _Headers(stream)
    tar = cast("Any", tarfile.TarFile(fileobj=cast("Any", headers)))
    return {member.name: member for member in _members(tar, headers, stream, place, offset)}


def _linked(link: tarfile.TarInfo, before: dict[str, Member], place: str) -> Member:
    """Return a hard link as the file that it names, under its own name."""
    target = before.get(link.linkname)
    if target is None:
        raise SourceError(
            f"{place} has {link.name[:200]!r} as a hard link to {link.linkname[:200]!r}, and no "
            "such file before it: write the shard again"
        )
    return replace(target, name=link.name, is_hard_link=True)


def _next(tar: tarfile.TarFile, headers: "_Headers") -> tarfile.TarInfo | None:
    headers.num_read = 0
    return tar.next()


class _Headers:
    """A stream of which a limited number of bytes is read for each header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.num_read = 0

    def read(self, num_bytes: int) -> bytes:
        self.num_read += num_bytes
        if num_bytes < 0 or self.num_read > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a file's header is over {_MAX_HEADER_BYTES:,} bytes")
        return self._stream.read(num_bytes)

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _check(tar: tarfile.TarFile, found: tarfile.TarInfo, place: str) -> None:
    """Refuse a header that leads back, and what would be another content than the bytes there."""
    if found.size < 0 or tar.offset <= found.offset:
        raise SourceError(
            f"{place} has a file of {found.size:,} bytes at byte {found.offset:,}: it is damaged; "
            "write or download it again"
        )
    if len(tar.pax_headers) > _MAX_GLOBALS:
        raise SourceError(
            f"{place} has over {_MAX_GLOBALS} global headers: it is made to fill the memory; "
            "write it again"
        )
    if found.issparse():
        raise SourceError(
            f"{place} has {found.name[:200]!r} as a sparse file: write it again without --sparse"
        )


def _damaged(stream: IO[bytes], error: Exception, place: str) -> SourceError:
    detail = str(error).strip().partition("\n")[0] or type(error).__name__
    try:
        stream.seek(0)
        head = stream.read(_BLOCK)
    except Exception:
        head = b""
    if head and not head[_MAGIC_AT:].startswith(b"ustar"):
        detail = what_it_is(head) or detail
    return SourceError(
        f"{place} is no whole tar archive ({detail[:200]}): write or download it again"
    )


def _check_end(stream: IO[bytes], offset: int, place: str) -> None:
    """Refuse an archive that does not end where tarfile stopped: the rest would be lost silently.

    Raises:
        SourceError: there is no end, or more behind it.
    """
    try:
        stream.seek(offset)
        rest = stream.read(_MAX_END_BYTES)
    except (OSError, EOFError) as error:
        raise SourceError(
            f"{place} is cut short at byte {offset:,} ({error}): write or download it again"
        ) from error
    if len(rest) < _BLOCK:
        raise SourceError(
            f"{place} ends at byte {offset + len(rest):,} without the zeros that end a tar "
            "archive: it is cut short, or was not closed; write or download it again"
        )
    if any(rest[:_BLOCK]):
        raise SourceError(
            f"{place} has a damaged header at byte {offset:,}: write or download it again"
        )
    if any(rest):
        raise SourceError(
            f"{place} has more after its end at byte {offset:,}, as two joined archives have: "
            "write them as two files"
        )
