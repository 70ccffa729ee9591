"""One Parquet file, read a few rows at a time: what it says of itself is checked before it is used.

Parquet compresses and repeats: a small file may say that it becomes terabytes. So no column is ever
read whole, text labels stay in their dictionary, and a file cannot have more rows than its size
allows. What remains is a page, of which Arrow holds one at a time: up to 2 GiB where a file is made
to harm.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from accrete.config.classes import MAX_NAME_LENGTH
from accrete.core.untrusted import HEAD_BYTES, pickle_kind
from accrete.data.sources.files import Files
from accrete.errors import SourceError

_IMAGE_ROWS, _LABEL_ROWS = 32, 65536
"""Rows read at once: a few large photographs, many numbers."""

_MAX_LABEL_BYTES = 4 * MAX_NAME_LENGTH
"""UTF-8 has at most four bytes a character."""

_MIN_ROWS = 1_000_000
"""As many rows are always believed; more must take at least a byte each."""


class OpenTable:
    """An open Parquet file; use it in a `with` block."""

    def __init__(
        self, files: Files, name: str, *, image: str | None = None, label: str | None = None
    ) -> None:
        """Open a file.

        Args:
            files: where it is.
            name: of the file.
            image: column of images that it must have.
            label: column of labels that it must have.

        Raises:
            SourceError: it is no Parquet file, lacks a column or says that it has too many rows.
        """
        self._place = f"{files.root}/{name}"
        self._stream = files.open(name)
        try:
            self._check_head()
            self._file = self._explained(lambda: pq.ParquetFile(self._stream))
            self._check_rows()
            if image is not None:
                self._check_column(image, is_image, "bytes")
            if label is not None:
                self._check_column(label, is_label, "whole numbers or text")
                known = self._file.metadata
                self._file = self._explained(
                    lambda: pq.ParquetFile(self._stream, metadata=known, read_dictionary=[label])
                )
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "OpenTable":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._stream.close()

    @property
    def schema(self) -> Any:
        """The columns' names and types."""
        return self._file.schema_arrow

    def labels(self, column: str) -> Iterator[int | str | None]:
        """Yield the label of every row; None where it is null.

        Raises:
            SourceError: the file is damaged, or a text is too long for a class's name.
        """
        for array in self._arrays(column, _LABEL_ROWS):
            if not pa.types.is_dictionary(array.type):
                yield from self._explained(array.to_pylist)
                continue
            texts = self._texts(array.dictionary, column)
            for index in self._explained(array.indices.to_pylist):
                yield None if index is None else texts[index]

    def images(self, column: str) -> Iterator[Any]:
        """Yield the cell of every row, as pyarrow has it.

        Raises:
            SourceError: the file is damaged.
        """
        for array in self._arrays(column, _IMAGE_ROWS):
            yield from array

    def _texts(self, dictionary: Any, column: str) -> list[Any]:
        if not pa.types.is_integer(dictionary.type):
            longest = pc.max(pc.binary_length(dictionary)).as_py() or 0
            if longest > _MAX_LABEL_BYTES:
                raise SourceError(
                    f"{self._place} has a label of {longest:,} bytes in column {column!r}: "
                    "a class's name is short; choose the column with --label-column"
                )
        texts: list[Any] = self._explained(dictionary.to_pylist)
        return texts

    def _arrays(self, column: str, num_rows: int) -> Iterator[Any]:
        batches = self._file.iter_batches(batch_size=num_rows, columns=[column])
        while True:
            batch = self._explained(lambda: next(batches, None))
            if batch is None:
                return
            self._explained(lambda: batch.validate(full=True))  # noqa: B023  called at once
            yield batch.column(0)

    def _check_head(self) -> None:
        size = self._explained(lambda: self._stream.seek(0, 2))
        self._stream.seek(0)
        self._num_bytes = size
        kind = pickle_kind(self._explained(lambda: self._stream.read(HEAD_BYTES)))
        self._stream.seek(0)
        if kind is not None:
            raise SourceError(
                f"{self._place} is no Parquet file (it is {kind}, which is never loaded): "
                "write the images and labels to a Parquet file"
            )

    def _check_rows(self) -> None:
        num_rows = self._file.metadata.num_rows
        if num_rows < 0 or num_rows > max(_MIN_ROWS, self._num_bytes):
            raise SourceError(
                f"{self._place} says that it has {num_rows:,} rows in {self._num_bytes:,} bytes: "
                "it is damaged, or made to fill the memory; write it again"
            )

    def _check_column(self, column: str, fits: Callable[[Any], bool], wanted: str) -> None:
        found = self.schema.names.count(column)
        if found != 1:
            how_often = f"{found} columns" if found else "no column"
            raise SourceError(
                f"{self._place} has {how_often} {column!r}, other files of the set have one"
            )
        kind = self.schema.field(column).type
        if not fits(kind):
            raise SourceError(
                f"{self._place} has {str(kind)[:60]} in column {column!r}: it must be {wanted}"
            )

    def _explained(self, read: Any) -> Any:
        """Return what a read of the file gives; its errors become ours."""
        try:
            return read()
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            detail = str(error).strip().partition("\n")[0] or type(error).__name__
            raise SourceError(
                f"{self._place} is no Parquet file ({detail[:200]}): write or download it again"
            ) from error


def is_image(kind: Any) -> bool:
    """Return whether a column of this type may hold encoded images."""
    if pa.types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return [is_image(f.type) for f in fields if f.name == "bytes"] == [True]
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_label(kind: Any) -> bool:
    """Return whether a column of this type may hold labels."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )
