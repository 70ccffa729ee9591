"""Class shards: immutable Arrow IPC files with the images of one class and split."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from accrete.errors import IntegrityError
from accrete.images import Pixels, decode_image, resize_crop, with_channels
from accrete.manifests import FORMAT, ImageFormat

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


def read_shards(
    paths: Sequence[Path], image: ImageFormat, *, num_images: int
) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]:
    """Return the images of some shards, in order.

    Args:
        paths: Arrow IPC files.
        image: how they are stored and what size a model takes.
        num_images: images in all of them, as the manifest has it.

    Returns:
        uint8 (num_images, height, width, channels).

    Raises:
        IntegrityError: a file is no shard, or holds another number or size of images.
    """
    images = np.empty((num_images, image.height, image.width, image.channels), np.uint8)
    filled = 0
    for path in paths:
        column = _read_column(path)
        if filled + len(column) > num_images:
            raise IntegrityError(f"{path} holds more images than its manifest names")
        target = images[filled : filled + len(column)]
        if image.encoding == "raw":
            _copy_raw(column, target, path)
        else:
            _decode_into(column, target, path)
        filled += len(column)
    if filled != num_images:
        raise IntegrityError(f"the shards hold {filled} images, their manifest names {num_images}")
    return images


def _read_column(path: Path) -> pa.Array:
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        return table.column("image").combine_chunks()
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise IntegrityError(f"{path} is not a class shard ({error})") from error


def _copy_raw(column: pa.Array, target: Pixels, path: Path) -> None:
    row_bytes = target[0].nbytes if len(target) else 0
    kind = column.type
    if len(target) and not (pa.types.is_fixed_size_binary(kind) and kind.byte_width == row_bytes):
        raise IntegrityError(f"{path} holds {kind}, its manifest names {row_bytes} bytes")
    if len(target):
        flat = np.frombuffer(column.buffers()[1], np.uint8)
        start = column.offset * row_bytes
        target[...] = flat[start : start + target.nbytes].reshape(target.shape)


def _decode_into(column: pa.Array, target: Pixels, path: Path) -> None:
    """Decode rows into a preallocated (N, H, W, C) array, in threads: Pillow frees the lock."""
    height, width, channels = target.shape[1:]

    def decode(row: int) -> None:
        pixels = decode_image(column[row].as_py(), f"{path} row {row}")
        target[row] = with_channels(resize_crop(pixels, height, width), channels)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(decode, range(len(column))):
            pass


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
