"""A file of rows, read a few at a time, and what goes wrong with it; kinds of files build on it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self

from accrete.config.classes import MAX_NAME_LENGTH
from accrete.core.untrusted import HEAD_BYTES, pickle_kind
from accrete.data.sources.files import Files
from accrete.data.sources.tables.arrow_columns import (
    class_label_names,
    columns_of,
    descend,
    is_image,
    is_label,
    is_text,
)
from accrete.data.sources.tables.rows import Column
from accrete.errors import SourceError

_LFS_HEAD = b"version https://git-lfs"

IMAGE_ROWS, LABEL_ROWS = 32, 65536
"""Rows read at once: a few large photographs, many numbers."""

MAX_LABEL_BYTES = 4 * MAX_NAME_LENGTH
"""UTF-8 has at most four bytes a character."""


class Table(ABC):
    """An open file of rows; use it in a `with` block."""

    kind = "table"
    """What such a file is called."""

    def __init__(self, files: Files, name: str) -> None:
        """Open a file.

        Raises:
            SourceError: it is none of its kind.
        """
        self.place = f"{files.root}/{name}"
        self._stream = files.open(name)
        try:
            self._check_head()
            self._open()
            self._types = self.explained(lambda: columns_of(self.schema))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    @property
    @abstractmethod
    def schema(self) -> Any:
        """The columns' names and types, of Arrow."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns, nested ones too."""
        return {
            name: Column(is_image=is_image(kind), is_label=is_label(kind), is_text=is_text(kind))
            for name, kind in self._types.items()
        }

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Class names of each column that is a ClassLabel."""
        return class_label_names(self.schema.metadata)

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """How many rows there are."""

    def first(self, column: str, most: int) -> list[Any]:
        """Return the first cells of a column, as Python has them."""
        return [cell.as_py() for cell in islice(self.images(column), most)]

    def labels(self, column: str) -> Iterator[Any]:
        """Yield the label cell of every row, as Python has it; None where it is null.

        Raises:
            SourceError: the file is damaged, or a text is too long for a class's name.
        """
        for array in self._arrays(column, LABEL_ROWS):
            if not hasattr(array, "dictionary"):
                if is_text(array.type):
                    self._check_length(array, column)
                yield from self.explained(array.to_pylist)
                continue
            if is_text(array.dictionary.type):
                self._check_length(array.dictionary, column)
            texts = self.explained(array.dictionary.to_pylist)
            for index in self.explained(array.indices.to_pylist):
                yield None if index is None else texts[index]

    def images(self, column: str) -> Iterator[Any]:
        """Yield the image cell of every row, as Arrow has it.

        Raises:
            SourceError: the file is damaged.
        """
        for array in self._arrays(column, IMAGE_ROWS):
            yield from array

    def _check_length(self, array: Any, column: str) -> None:
        longest = max((len(text.as_py() or "") for text in array), default=0)
        if longest > MAX_LABEL_BYTES:
            raise SourceError(
                f"{self.place} has a label of {longest:,} characters in column {column!r}: "
                "a class's name is short; choose the column with --label-column"
            )

    def _arrays(self, column: str, num_rows: int) -> Iterator[Any]:
        root, steps = self._path_of(column)
        batches = self._batches(root, steps, num_rows)
        while True:
            batch = self.explained(lambda: next(batches, None))
            if batch is None:
                return
            self.explained(lambda: batch.validate(full=True))  # noqa: B023  called at once
            yield self.explained(lambda: descend(batch.column(0), steps))  # noqa: B023

    @abstractmethod
    def _open(self) -> None:
        """Read what the file says of itself from `_stream`."""

    @abstractmethod
    def _batches(self, root: str, steps: list[str], num_rows: int) -> Iterator[Any]:
        """Yield batches of one column of the schema."""

    def _path_of(self, column: str) -> tuple[str, list[str]]:
        """Return a column of the schema, and the way from there to a nested one.

        Raises:
            SourceError: the file does not have it, or has it twice.
        """
        found = self.schema.names.count(column)
        root, *steps = [column] if found else column.split(".")
        if found > 1 or column not in self._types:
            how_often = f"{found} columns" if found > 1 else "no column"
            raise SourceError(
                f"{self.place} has {how_often} {column!r}, other files of the set have one"
            )
        return root, steps

    def _check_head(self) -> None:
        self.num_bytes = self.explained(lambda: self._stream.seek(0, 2))
        self._stream.seek(0)
        head = self.explained(lambda: self._stream.read(HEAD_BYTES))
        self._stream.seek(0)
        kind = pickle_kind(head)
        if kind is not None:
            raise SourceError(
                f"{self.place} is no {self.kind} file (it is {kind}, which is never loaded): "
                f"write the images and labels to a {self.kind} file"
            )
        if head.startswith(_LFS_HEAD):
            raise SourceError(
                f"{self.place} is no {self.kind} file (it is a Git LFS pointer, not the file "
                "itself): run git lfs pull"
            )

    def explained(self, read: Any) -> Any:
        """Return what a read of the file gives; its errors become ours."""
        import pyarrow as pa

        try:
            return read()
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            detail = str(error).strip().partition("\n")[0] or type(error).__name__
            raise SourceError(
                f"{self.place} is no {self.kind} file ({detail[:200]}): write or download it again"
            ) from error
