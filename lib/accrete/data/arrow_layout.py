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

_DICTIONARIES_FIELD, _BATCHES_FIELD, _BLOCK_BYTES = 2, 3, 24
"""Of the table Footer in format/File.fbs, and of its struct Block."""


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
    if is_compressed(message.metadata.to_pybytes()):
        raise ValueError("it holds no plain rows")
    return pa.ipc.read_record_batch(message, schema).column(0)


def is_compressed(metadata: bytes) -> bool:
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


def check_file_batches(source: Any) -> None:
    """Refuse an Arrow IPC file that holds dictionaries or compressed batches, by its footer.

    Args:
        source: a file that can be sought in, of any writer: some put nothing but batches before it.

    Raises:
        ValueError: it does, or its footer is damaged.
    """
    try:
        end = source.seek(0, 2)
        source.seek(max(0, end - 10))
        (num_bytes,) = struct.unpack("<i", source.read(4))
        if not 0 < num_bytes <= end - 10:
            raise ValueError("its end is damaged")
        source.seek(end - 10 - num_bytes)
        footer = source.read(num_bytes)
        (table,) = struct.unpack_from("<I", footer)
        if _blocks(footer, table, _DICTIONARIES_FIELD):
            raise ValueError("it holds a dictionary: write its columns without one")
        for offset, length in _blocks(footer, table, _BATCHES_FIELD):
            source.seek(offset)
            if is_compressed(_metadata(source.read(length))):
                raise ValueError("its batches are compressed: write it without compression")
    except (struct.error, OverflowError) as error:
        raise ValueError(f"its end is damaged: {error}") from error


def _blocks(footer: bytes, table: int, number: int) -> list[tuple[int, int]]:
    """Return where messages lie and how long their headers are, by a vector of the footer's."""
    field = _field(footer, table, number)
    if field is None:
        return []
    (offset,) = struct.unpack_from("<I", footer, field)
    (length,) = struct.unpack_from("<I", footer, field + offset)
    first = field + offset + 4
    if first + length * _BLOCK_BYTES > len(footer):
        raise ValueError("its end is damaged")
    return [
        struct.unpack_from("<qi", footer, first + number * _BLOCK_BYTES) for number in range(length)
    ]


def _metadata(message: bytes) -> bytes:
    """Return a message's header without what says how long it is."""
    return message[8:] if message.startswith(b"\xff\xff\xff\xff") else message[4:]


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
