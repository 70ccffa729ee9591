"""One file of Arrow's IPC format, as Hugging Face's `save_to_disk` writes them: stream or file.

Arrow would make room for whatever a compressed batch says that it becomes, so such batches are
refused; plain ones take no more memory than they have bytes.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from accrete.data.arrow_layout import check_file_batches, is_compressed
from accrete.data.sources.tables.table import Table

_MAGIC = b"ARROW1"


class ArrowTable(Table):
    """An open Arrow IPC file."""

    kind = "Arrow"
    _schema: Any
    _file: Any = None
    """Of the file format, which has a list of its batches; None: a stream of them."""

    def _open(self) -> None:
        self._schema = self.explained(self._opened)

    def _opened(self) -> Any:
        self._stream.seek(0)
        is_file = self._stream.read(len(_MAGIC)) == _MAGIC
        self._stream.seek(0)
        if is_file:
            check_file_batches(self._stream)
            self._stream.seek(0)
            self._file = pa.ipc.open_file(self._stream)
            return self._file.schema
        schema = next(self._messages(), None)
        if schema is None:
            raise ValueError("it has no schema")
        return schema

    @property
    def schema(self) -> Any:
        """The columns' names and types."""
        return self._schema

    @property
    def num_rows(self) -> int:
        """How many rows the file has; reads it."""
        return sum(batch.num_rows for batch in self._record_batches())

    def _messages(self) -> Iterator[Any]:
        """Yield a stream's schema, then each batch's message."""
        self._stream.seek(0)
        reader = pa.ipc.MessageReader.open_stream(self._stream)
        schema = None
        while True:
            try:
                message = reader.read_next_message()
            except StopIteration:
                return
            if schema is None:
                if message.type != "schema":
                    raise ValueError("it has no schema")
                schema = pa.ipc.read_schema(message)
                yield schema
            elif message.type != "record batch":
                raise ValueError(f"it holds a {message.type}: write its columns without one")
            elif is_compressed(message.metadata.to_pybytes()):
                raise ValueError("its batches are compressed: write it without compression")
            else:
                yield message

    def _record_batches(self) -> Iterator[Any]:
        if self._file is not None:
            for number in range(self._file.num_record_batches):
                yield self.explained(lambda: self._file.get_batch(number))  # noqa: B023  at once
            return
        messages = self._messages()
        schema = self.explained(lambda: next(messages))
        while True:
            message = self.explained(lambda: next(messages, None))
            if message is None:
                return
            yield self.explained(
                lambda: pa.ipc.read_record_batch(message, schema)  # noqa: B023  called at once
            )

    def _batches(self, root: str, steps: list[str], num_rows: int) -> Iterator[Any]:  # noqa: ARG002  the base's
        for batch in self._record_batches():
            column = batch.select([root])
            for start in range(0, batch.num_rows, num_rows):
                yield column.slice(start, num_rows)
