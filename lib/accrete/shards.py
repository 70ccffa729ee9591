"""Class shards: immutable Arrow IPC files with the images of one class and split.

`shard_reader` reads them.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from accrete.manifests import FORMAT

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
