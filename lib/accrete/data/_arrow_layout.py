"""Where a class shard has its rows: the batches of an Arrow IPC file, none of them decompressed.

Arrow itself would make room for whatever a compressed batch says that it becomes. A shard's batches
are plain, so this looks at the header of each before Arrow may read it.
"""

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from accrete.core.untrusted import HEAD_BYTES, pickle_kind

_MAGIC_BYTES = 8
_HEADER_FIELD, _COMPRESSION_FIELD = 2, 3
"""Of the tables Message and RecordBatch in Arrow's format/Message.fbs, counted from 0."""


def image_columns(source: Any) -> list[Any]:
    """Return the image column of each batch of an open Arrow IPC file, as views of the file.

    Args:
        source: a pyarrow.MemoryMappedFile or BufferReader.

    Raises:
        ValueError: it is no file of one image column in plain batches.
        pyarrow.ArrowException: it is no Arrow IPC file.
    """
    source.seek(0)
    kind = pickle_kind(source.read(HEAD_BYTES))
    if kind is not None:
        raise ValueError(f"it is {kind}, which is never loaded")
    source.seek(0)
    num_batches = pa.ipc.open_file(source).num_record_batches  # checks the file's end
    source.seek(_MAGIC_BYTES)
    messages = _messages(source)
    first = next(messages, None)
    if first is None or first.type != "schema":
        raise ValueError("it has no schema")
    schema = pa.ipc.read_schema(first)
    if schema.names != ["image"]:
        raise ValueError(f"its columns are {', '.join(schema.names)[:60]}, not image alone")
    columns = [_plain_column(message, schema) for message in messages]
    if len(columns) != num_batches:
        raise ValueError(f"its end names {num_batches} batches, it has {len(columns)}")
    return columns


def _messages(source: Any) -> Iterator[Any]:
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _plain_column(message: Any, schema: Any) -> Any:
    if message.type != "record batch":
        raise ValueError(f"it holds a {message.type}")
    if _is_compressed(message.metadata.to_pybytes()):
        raise ValueError("it holds no plain rows")
    return pa.ipc.read_record_batch(message, schema).column(0)


def _is_compressed(metadata: bytes) -> bool:
    """Return whether a record batch's header says that its buffers are compressed.

    Raises:
        ValueError: it is no header.
    """
    try:
        (message,) = struct.unpack_from("<I", metadata)
        field = _field(metadata, message, _HEADER_FIELD)
        if field is None:
            raise ValueError("a batch has no header")
        (offset,) = struct.unpack_from("<I", metadata, field)
        return _field(metadata, field + offset, _COMPRESSION_FIELD) is not None
    except struct.error as error:
        raise ValueError(f"a batch's header is cut short: {error}") from error


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where a flatbuffers table has a field, None where it has not."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    place = 4 + 2 * number
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + place)
    return table + offset if offset else None
