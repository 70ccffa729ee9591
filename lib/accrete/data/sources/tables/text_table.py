"""Tables of text: CSV, TSV, JSON lines, and plain lists of `path label`. All cells are text."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from accrete.core.untrusted import HEAD_BYTES, decode_json, pickle_kind
from accrete.data.sources.files import Files
from accrete.data.sources.tables.beside import has_image_suffix
from accrete.data.sources.tables.rows import Column
from accrete.errors import SourceError

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst")

MAX_TABLE_BYTES = 1 << 30
"""A larger table of text is refused: 100 bytes a row, that is ten million images."""

_SAID_DELIMITER = re.compile("sep=(.)")

_BOMS = (
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"),
)  # fmt: skip


class TextTable:
    """A table of text, read whole."""

    def __init__(self, files: Files, name: str, *, only_begin: bool = False) -> None:
        """Read a file.

        Args:
            files: where it is.
            name: of the file.
            only_begin: read some of the first rows alone.

        Raises:
            SourceError: it is no table of text, or a row has not the columns of the others.
        """
        self.place = f"{files.root}/{name}"
        self.name = name
        text = self._decoded(self._begin(files, name) if only_begin else self._bytes(files, name))
        self.header: list[str] | None = None
        if name.lower().endswith((".jsonl", ".ndjson")):
            self.header, self.rows = self._json_lines(text)
        else:
            self.rows = self._delimited(text)

    def _begin(self, files: Files, name: str) -> bytes:
        data = files.head(name)
        if len(data) < files.size(name) and b"\n" in data:
            # Up to a line's end; of UTF-16 the last byte of that is on the other side.
            data = data[: data.rindex(b"\n") + 1]
            data += b"\0" if data.startswith(b"\xff\xfe") else b""
        return data

    def _bytes(self, files: Files, name: str) -> bytes:
        size = files.size(name)
        if size > MAX_TABLE_BYTES:
            raise SourceError(
                f"{self.place} has {size:,} bytes, over the limit of {MAX_TABLE_BYTES:,} for text: "
                "write it as Parquet"
            )
        with files.open(name) as file:
            return file.read()

    def _decoded(self, data: bytes) -> str:
        kind = pickle_kind(data[:HEAD_BYTES])
        if kind is not None:
            raise SourceError(f"{self.place} is no table of text (it is {kind}): write it as CSV")
        encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{self.place} is no UTF-8 (byte {error.start} is {data[error.start]:#x}): save it "
                "as UTF-8"
            ) from error
        if "\0" in text:
            raise SourceError(f"{self.place} is no table of text (it has zero bytes)")
        return text

    def _delimited(self, text: str) -> list[list[Any]]:
        lines = [line for line in text.split("\n") if line.strip()]
        first = lines[0] if lines else ""
        said = _SAID_DELIMITER.fullmatch(first.strip())
        if said:  # for Excel
            text = text.split("\n", 1)[1]
        delimiter = said[1] if said else _delimiter(self.name, first)
        if delimiter is None:
            rows = [_in_two(line) for line in lines]
        else:
            reader = csv.reader(
                io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
            )
            try:
                rows = [row for row in reader if any(cell.strip() for cell in row)]
            except csv.Error as error:
                raise SourceError(
                    f"{self.place} line {reader.line_num} cannot be read ({error}): write it again"
                ) from error
        return self._even(rows)

    def _even(self, rows: list[list[Any]]) -> list[list[Any]]:
        for number, row in enumerate(rows):
            if len(row) != len(rows[0]):
                raise SourceError(
                    f"{self.place} row {number + 1} has {len(row)} cells, the first one has "
                    f"{len(rows[0])}: mend it, with quotes around cells that hold the delimiter"
                )
        return rows

    def _json_lines(self, text: str) -> tuple[list[str], list[list[Any]]]:
        records: list[Mapping[str, Any]] = []
        header: dict[str, None] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                record = decode_json(line.encode())
            except ValueError as error:
                raise SourceError(f"{self.place} line {number} is not JSON ({error})") from error
            if not isinstance(record, Mapping):
                raise SourceError(f"{self.place} line {number} is no object: write one a line")
            records.append(record)
            header.update(dict.fromkeys(record))
        rows = [[record.get(name) for name in header] for record in records]
        return list(header), rows


def _delimiter(name: str, first: str) -> str | None:
    """Return what stands between the cells of a table, None for blanks."""
    wanted = "\t,;|" if name.lower().endswith((".tsv", ".txt", ".lst")) else ",\t;|"
    found = [each for each in wanted if each in first]
    if found:
        return found[0]
    return "," if name.lower().endswith((".csv", ".tsv")) else None


def _in_two(line: str) -> list[str]:
    """Return path and label of a line; either may have blanks in it, the path by its ending."""
    path, _, label = line.strip().partition(" ")
    found = [path, label.strip()] if has_image_suffix(path) else line.strip().rsplit(None, 1)
    return [cell for cell in found if cell]


class TextRows:
    """The rows of a table of text, under the names of its columns."""

    def __init__(self, table: TextTable, is_image: Callable[[str], bool]) -> None:
        """Find out whether the first row is a header: it is none if it names an image.

        Args:
            table: of text.
            is_image: whether a cell names an image that is there.
        """
        self.place = table.place
        rows = table.rows
        header = table.header
        if (
            header is None
            and rows
            and any(has_image_suffix(cell) or is_image(cell) for cell in rows[0])
        ):
            header = [f"column {number + 1}" for number in range(len(rows[0]))]
        elif header is None and rows:
            header, rows = [cell.strip() for cell in rows[0]], rows[1:]
        self._header, self._rows = header or [], rows
        twice = next((name for name in self._header if self._header.count(name) > 1), None)
        if twice is not None:
            raise SourceError(f"{self.place} has several columns {twice!r}: rename them")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def columns(self) -> Mapping[str, Column]:
        """All columns; each may be labels or paths."""
        return {name: Column(is_image=False, is_label=True, is_text=True) for name in self._header}

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """None: text names its classes itself."""
        return {}

    @property
    def num_rows(self) -> int:
        """How many there are, without the header."""
        return len(self._rows)

    def first(self, column: str, most: int) -> list[Any]:
        """Return the first cells of a column."""
        index = self._header.index(column)
        return [row[index] for row in self._rows[:most]]

    def labels(self, column: str) -> Iterator[Any]:
        """Yield the cells of a column; whole numbers without `.0`.

        Raises:
            SourceError: the table does not have the column.
        """
        cells = self._cells(column)
        if all(isinstance(cell, str) for cell in cells):
            return numbers_as_whole(cells)
        return iter(cells)

    def images(self, column: str) -> Iterator[Any]:
        """Yield the cells of a column.

        Raises:
            SourceError: the table does not have the column.
        """
        return iter(self._cells(column))

    def _cells(self, column: str) -> list[Any]:
        if column not in self._header:
            raise SourceError(
                f"{self.place} has no column {column!r}, other files of the set have one"
            )
        index = self._header.index(column)
        return [row[index] for row in self._rows]


def numbers_as_whole(values: Sequence[str]) -> Iterator[str]:
    """Yield texts; where all are whole numbers, written as floats, without their `.0`."""
    stripped = [value.strip() for value in values]
    if all(_is_whole_float(value) for value in stripped if value):
        yield from (value.partition(".")[0] for value in stripped)
    else:
        yield from values


def _is_whole_float(value: str) -> bool:
    whole, _, rest = value.partition(".")
    return whole.removeprefix("-").isdecimal() and rest.strip("0") == ""
