"""One Parquet file, read a few rows at a time: what it says of itself is checked before it is used.

Parquet compresses and repeats: a small file may say that it becomes terabytes. So no column is ever
read whole, nor a row group's column at once; text labels stay in their dictionary, and a file
cannot have more rows than its size allows. What remains is a page, of which Arrow holds one at a
time: up to 2 GiB where a file is made to harm.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from accrete.data.sources.tables.arrow_columns import is_text
from accrete.data.sources.tables.table import Table
from accrete.errors import SourceError

_MIN_ROWS = 1_000_000
"""As many rows are always believed; more must take at least a byte each."""

_BUFFER_BYTES = 1 << 20
"""Of a column's chunk; Arrow reads chunks whole otherwise, and a chunk may be a whole file."""


class ParquetTable(Table):
    """An open Parquet file."""

    kind = "Parquet"
    _file: pq.ParquetFile

    def _open(self) -> None:
        self._file = self.explained(self._opened)
        num_rows = self._file.metadata.num_rows
        if num_rows < 0 or num_rows > max(_MIN_ROWS, self.num_bytes):
            raise SourceError(
                f"{self.place} says that it has {num_rows:,} rows in {self.num_bytes:,} bytes: "
                "it is damaged, or made to fill the memory; write it again"
            )

    def _opened(self, **options: Any) -> pq.ParquetFile:
        return pq.ParquetFile(self._stream, buffer_size=_BUFFER_BYTES, pre_buffer=False, **options)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    @property
    def schema(self) -> Any:
        """The columns' names and types."""
        return self._file.schema_arrow

    @property
    def num_rows(self) -> int:
        """How many rows the file says that it has."""
        return int(self._file.metadata.num_rows)

    def _batches(self, root: str, steps: list[str], num_rows: int) -> Iterator[Any]:
        file = self._file
        if not steps and is_text(self.schema.field(root).type):
            # Long texts that repeat are then read once.
            known = file.metadata
            file = self.explained(lambda: self._opened(metadata=known, read_dictionary=[root]))
        column = ".".join([root, *steps])
        yield from file.iter_batches(batch_size=num_rows, columns=[column])
