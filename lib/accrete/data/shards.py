"""Class shards: immutable Arrow IPC files with the images of one class and split.

To read, a shard is mapped once to learn where its rows lie; rows are then read at their offsets,
into the caller's array. Reading, unlike touching a map, leaves nothing in this process's memory;
the system's page cache keeps what there is room for.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from accrete.catalog.manifests import FORMAT
from accrete.config.image_format import ImageFormat
from accrete.data.arrow_layout import image_columns
from accrete.data.images import Pixels, decode_image, resize_crop, with_channels
from accrete.errors import IntegrityError

MAX_SHARD_BYTES = 256 << 20
"""A class with more bytes than this splits into several shards."""

_METADATA_KEY = b"accrete"


def write_shard(path: Path, rows: Sequence[bytes], *, row_bytes: int | None) -> None:
    """Write images of one class and split to an Arrow IPC file.

    Args:
        path: the file to make.
        rows: raw pixels (height, width, channels) uint8 in C order, or encoded files.
        row_bytes: bytes of every row where they are raw; None: encoded.
    """
    kind = pa.binary(row_bytes) if row_bytes else pa.large_binary()
    note = json.dumps({"format": FORMAT, "raw": row_bytes is not None})
    schema = pa.schema([pa.field("image", kind, nullable=False)]).with_metadata(
        {_METADATA_KEY: note.encode()}
    )
    batch = pa.record_batch([pa.array(rows, kind)], schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def parts_of(rows: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Yield rows in lists of at most MAX_SHARD_BYTES, at least one row each."""
    part: list[bytes] = []
    size = 0
    for row in rows:
        if part and size + len(row) > MAX_SHARD_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    if part:
        yield part


def image_digests(path: Path) -> set[bytes]:
    """Return the SHA-256 of each image of a shard, of the bytes that it is stored as.

    Raises:
        IntegrityError: the file is no shard.
    """
    try:
        with pa.memory_map(str(path)) as source:
            columns = image_columns(source)
            return {sha256(row.as_buffer()).digest() for column in columns for row in column}
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        detail = str(error).strip().partition("\n")[0]
        raise IntegrityError(f"{path} is not a class shard ({detail})") from error


_MAX_OPEN_FILES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows that lie in one piece of a file."""

    path: Path
    num_rows: int
    start: int
    """Byte of the file at which the first row begins."""
    ends: NDArray[np.int64] | None
    """Bytes from there to the end of each row; None: all rows are equally long."""


class ShardReader:
    """The images of some shards, numbered from 0 in the shards' order."""

    def __init__(self, paths: Sequence[Path], image: ImageFormat, *, num_images: int) -> None:
        """Look where the rows lie.

        Args:
            paths: Arrow IPC files.
            image: how they are stored and what size a model takes.
            num_images: images in all of them, as the manifest has it.

        Raises:
            IntegrityError: a file is no shard, or holds another number or size of images.
        """
        self.num_images = num_images
        self.image_bytes = image.height * image.width * image.channels
        self._shape = (image.height, image.width, image.channels)
        self._is_raw = image.encoding == "raw"
        self._parts = [part for path in paths for part in self._locate(path)]
        counts = [part.num_rows for part in self._parts]
        self._firsts = np.cumsum([0, *counts])
        if self._firsts[-1] != num_images:
            raise IntegrityError(
                f"the shards hold {self._firsts[-1]} images, their manifest names {num_images}"
            )
        self._files: OrderedDict[Path, int] = OrderedDict()

    def read(self, indices: NDArray[np.int64]) -> Pixels:
        """Return images uint8 (B, height, width, channels).

        Args:
            indices: int64 (B,), each 0..num_images-1; consecutive ones are read at once.

        Raises:
            IntegrityError: a file is not what it was.
            BadImageError: an image cannot be decoded.
        """
        images = np.empty((len(indices), *self._shape), np.uint8)
        numbers = np.searchsorted(self._firsts, indices, side="right") - 1
        breaks = (np.diff(indices) != 1) | (np.diff(numbers) != 0)
        edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(indices)]
        for begin, end in pairwise(edges):
            if begin == end:
                continue
            part = self._parts[numbers[begin]]
            first = int(indices[begin] - self._firsts[numbers[begin]])
            if self._is_raw:
                self._read_into(images[begin:end], part, part.start + first * self.image_bytes)
            else:
                self._decode_into(images[begin:end], part, first)
        return images

    def close(self) -> None:
        """Close the files that are open."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    def __del__(self) -> None:
        if "_files" in self.__dict__:
            self.close()

    def _locate(self, path: Path) -> list[_Rows]:
        try:
            with pa.memory_map(str(path)) as source:
                whole = source.read_buffer()
                columns = image_columns(source)
                return [self._rows_of(path, column, whole) for column in columns]
        except (pa.ArrowException, KeyError, OSError, ValueError) as error:
            detail = str(error).strip().partition("\n")[0]
            raise IntegrityError(f"{path} is not a class shard ({detail})") from error

    def _rows_of(self, path: Path, column: pa.Array, whole: pa.Buffer) -> _Rows:
        kind = column.type
        if self._is_raw:
            width = kind.byte_width if pa.types.is_fixed_size_binary(kind) else None
            if width != self.image_bytes:
                raise IntegrityError(
                    f"{path} holds {kind}, its manifest names {self.image_bytes} bytes"
                )
            data, ends = column.buffers()[1], None
        elif pa.types.is_large_binary(kind):
            _, offsets, data = column.buffers()
            if offsets is None:
                raise IntegrityError(f"{path} is not a class shard (its rows have no ends)")
            ends = np.frombuffer(offsets, np.int64, count=len(column) + 1).copy()
            if ends[0] < 0 or (np.diff(ends) < 0).any():
                raise IntegrityError(f"{path} is not a class shard (its rows overlap)")
        else:
            raise IntegrityError(f"{path} holds {kind}, its manifest names encoded images")
        start = data.address - whole.address if len(column) and data is not None else 0
        size = len(column) * self.image_bytes if ends is None else int(ends[-1])
        if column.null_count or column.offset or not 0 <= start <= start + size <= whole.size:
            raise IntegrityError(f"{path} is not a class shard (it holds no plain rows)")
        return _Rows(path=path, num_rows=len(column), start=start, ends=ends)

    def _read_into(self, target: NDArray[np.uint8], part: _Rows, start: int) -> None:
        flat = target.reshape(-1)
        done = 0
        while done < len(flat):
            count = os.preadv(self._file(part.path), [flat[done:].data], start + done)
            if not count:
                raise IntegrityError(f"{part.path} became shorter while it was read")
            done += count

    def _decode_into(self, target: Pixels, part: _Rows, first: int) -> None:
        height, width, channels = self._shape
        assert part.ends is not None
        for row in range(len(target)):
            begin, end = (int(part.ends[first + row + n]) for n in (0, 1))
            data = np.empty(max(0, end - begin), np.uint8)
            self._read_into(data, part, part.start + begin)
            pixels = decode_image(data.tobytes(), f"{part.path} row {first + row}")
            target[row] = with_channels(resize_crop(pixels, height, width), channels)

    def _file(self, path: Path) -> int:
        """Return an open file, at most a few hundred at once: data sets have many shards."""
        if path in self._files:
            self._files.move_to_end(path)
        else:
            if len(self._files) >= _MAX_OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise IntegrityError(f"{path} is gone ({error.strerror})") from error
        return self._files[path]
