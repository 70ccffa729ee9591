"""Columns that a table's folders name: `label=cat/part-0.parquet`, as Spark writes them."""

from collections.abc import Iterator, Mapping
from itertools import repeat
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from accrete.data.sources.tables.rows import Column, Rows

_NULL = "__HIVE_DEFAULT_PARTITION__"


def partitions_of(name: str) -> dict[str, str | None]:
    """Return the columns that the folders of a file's name tell, with their value.

    `split=train` is a matter of splits, and no column.
    """
    pairs = [part.partition("=") for part in name.split("/")[:-1] if "=" in part]
    found = {unquote(key): unquote(value) for key, _, value in pairs if key.lower() != "split"}
    return {key: None if value == _NULL else value for key, value in found.items() if key}


class PartitionedRows:
    """A table with the columns of its folders."""

    def __init__(self, rows: Rows, values: Mapping[str, str | None]) -> None:
        """Add columns of one value each; the table's own come before."""
        self.place = rows.place
        self._rows = rows
        self._values = {name: value for name, value in values.items() if name not in rows.columns}

    def __enter__(self) -> Self:
        self._rows.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.__exit__(kind, error, trace)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The table's columns, and those of its folders, which are text."""
        text = Column(is_image=False, is_label=True, is_text=True)
        return {**self._rows.columns, **dict.fromkeys(self._values, text)}

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Those of the table."""
        return self._rows.class_names

    @property
    def num_rows(self) -> int:
        """Those of the table."""
        return self._rows.num_rows

    def first(self, column: str, most: int) -> list[Any]:
        """Return the first cells of a column."""
        if column in self._values:
            return [self._values[column]] * min(most, self.num_rows)
        return self._rows.first(column, most)

    def labels(self, column: str) -> Iterator[Any]:
        """Yield the cells of a column of labels or text."""
        if column in self._values:
            return repeat(self._values[column], self.num_rows)
        return self._rows.labels(column)

    def images(self, column: str) -> Iterator[Any]:
        """Yield the cells of a column of images."""
        return self._rows.images(column)
