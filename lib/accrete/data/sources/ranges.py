"""Ranges of a file that may be gzip, read in any thread and within bounded memory.

Neighbours are read together: a request for each image of a few kilobytes would take an object store
longer than the bytes do.
"""

import gzip
import io
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

from accrete.data.sources.files import Files
from accrete.errors import AccreteError, DiskFullError, SourceError

GZIP_RATIO = 1032
"""Bytes that deflate makes of one, at most: a code of two bits for 258 of them."""

_GZIP = b"\x1f\x8b"
_BUFFER_BYTES = 1 << 20
RUN_BYTES = 1 << 20
"""Images that are read at once take so much, or are a single one."""


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn what a damaged file raises while it is read into a line that names it.

    Raises:
        SourceError: it could not be read.
    """
    try:
        yield
    except AccreteError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        detail = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SourceError(
            f"{place} cannot be read ({detail[:200]}): it is damaged or cut short; "
            "write or download it again"
        ) from error


@contextmanager
def opened(files: Files, name: str) -> Iterator[tuple[IO[bytes], bool]]:
    """Open a file from its beginning; yield it and whether it is gzip, unpacked as it is read.

    Seeking back in gzip, by more than a megabyte, begins anew.

    Raises:
        SourceError: it cannot be read, or what is read in the block is damaged.
    """
    with explained(f"{files.root}/{name}"), files.open(name) as stream:
        is_gzip = stream.read(len(_GZIP)) == _GZIP
        stream.seek(0)
        if not is_gzip:
            yield stream, False
            return
        unpacked: IO[bytes] = io.BufferedReader(gzip.GzipFile(fileobj=stream), _BUFFER_BYTES)
        with unpacked:
            yield unpacked, True


def size_of(files: Files, name: str) -> int:
    """Return a file's size in bytes, as it lies there."""
    with explained(f"{files.root}/{name}"), files.open(name) as stream:
        return stream.seek(0, io.SEEK_END)


class Content(Protocol):
    """A file's bytes."""

    place: str
    """Path or address, for errors."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from start to before stop, fewer where it ends; safe in any thread."""
        ...


class _Stored:
    """A file that is read where it lies."""

    def __init__(self, files: Files, name: str) -> None:
        self.place = f"{files.root}/{name}"
        self._files, self._name = files, name

    def read(self, start: int, stop: int) -> bytes:
        with explained(self.place), self._files.open(self._name) as stream:
            raw = getattr(stream, "raw", stream)  # a buffer would read a megabyte for an icon
            raw.seek(start)
            parts = []
            while start < stop and (data := raw.read(stop - start)):
                parts.append(data)
                start += len(data)
            return b"".join(parts)


class _Unpacked:
    """A gzip file's content in a temporary file that has no name, so that nothing is left."""

    def __init__(self, files: Files, name: str, num_bytes: int) -> None:
        self.place = f"{files.root}/{name}"
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free < num_bytes:
            raise DiskFullError(
                f"{self.place} has {num_bytes:,} bytes unpacked, and {folder} has room for "
                f"{free:,}: unpack it yourself, or set TMPDIR to a folder on a larger disk"
            )
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the last image
        with opened(files, name) as (stream, _):
            while num_bytes and (data := stream.read(min(num_bytes, _BUFFER_BYTES))):
                self._write(data)
                num_bytes -= len(data)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise DiskFullError(
                f"{self.place} cannot be unpacked in {tempfile.gettempdir()} ({error.strerror}): "
                "unpack it yourself, or set TMPDIR to a folder on a larger disk"
            ) from error

    def read(self, start: int, stop: int) -> bytes:
        with explained(self.place):
            return os.pread(self._file.fileno(), stop - start, start)


def content_of(files: Files, name: str, *, unpacked_bytes: int | None) -> Content:
    """Return a file's content.

    Args:
        files: where it is.
        name: which of them.
        unpacked_bytes: what is unpacked of a gzip file, no more; None: it is no gzip file.

    Raises:
        SourceError: it cannot be read.
        DiskFullError: it does not fit the temporary folder's disk unpacked.
    """
    if unpacked_bytes is None:
        return _Stored(files, name)
    return _Unpacked(files, name, unpacked_bytes)


class Run:
    """Neighbouring images of a file; the first one that is asked for reads them all."""

    def __init__(self, content: Content, start: int, stop: int, num_images: int) -> None:
        """Describe it; nothing is read yet.

        Args:
            content: the file.
            start: where the first image begins.
            stop: where the last one ends.
            num_images: images in it; with as many reads its memory is free again.
        """
        self._content, self._start, self._stop = content, start, stop
        self._num_images = self._num_left = num_images
        self._data: bytes | None = None
        self._lock = threading.Lock()

    def read(self, start: int, num_bytes: int) -> bytes:
        """Return an image's bytes.

        Args:
            start: where it begins in the file.
            num_bytes: its size.

        Raises:
            SourceError: the file cannot be read, or ends before.
        """
        with self._lock:
            if self._data is None:
                self._data = self._content.read(self._start, self._stop)
                self._num_left = self._num_images
            at = start - self._start
            data = self._data[at : at + num_bytes]
            self._num_left -= 1
            if self._num_left == 0:
                self._data = None
        if len(data) != num_bytes:
            raise SourceError(
                f"{self._content.place} ends before its images do: it is being changed; run again "
                "when it is written"
            )
        return data


def runs(starts: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first image of each run and the one after its last.

    Args:
        starts: where each image begins; a run ends where one lies before the end of the last.
        sizes: of each, in bytes.
    """
    first = 0
    for number in range(1, len(starts)):
        is_back = starts[number] < starts[number - 1] + sizes[number - 1]
        if is_back or starts[number] + sizes[number] - starts[first] > RUN_BYTES:
            yield first, number
            first = number
    if len(starts):
        yield first, len(starts)
