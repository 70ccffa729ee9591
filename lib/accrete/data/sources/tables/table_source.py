"""Tables of images and labels, or of paths and labels: Parquet, Arrow, CSV and lists."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice, repeat
from typing import Any

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data.images import Pixels
from accrete.data.sources.base import Counts, Item, LeftOut, Reading, evenly
from accrete.data.sources.files import Files, tags
from accrete.data.sources.hub import Chosen, choose_files, readme_of
from accrete.data.sources.split_names import split_of_name
from accrete.data.sources.tables.beside import ImagesBeside, has_image_suffix
from accrete.data.sources.tables.cells import image_of, likely_images
from accrete.data.sources.tables.columns import (
    PATH_NAMES,
    SPLIT_NAMES,
    Choice,
    check_one_hot,
    choose_image,
    choose_label,
    is_usual_label,
)
from accrete.data.sources.tables.partitions import PartitionedRows, partitions_of
from accrete.data.sources.tables.row_labels import (
    FileLabels,
    RowLabels,
    read_labels,
    take_splits_of_paths,
)
from accrete.data.sources.tables.rows import Rows
from accrete.errors import SourceError

Opener = Callable[[str], Rows]
"""Opens a file of the set."""

_SAMPLED_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSet:
    """The files of a set of tables, before it is known what they hold."""

    files: Files
    """All that lies there."""
    names: Sequence[str]
    """Of the tables."""
    open: Opener
    """Opens one."""
    beside: ImagesBeside
    """Finds the images that tables name."""
    left_out: Sequence[LeftOut] = ()
    """What is neither table nor image, or an image that no table names after all."""
    images: Sequence[str] = ()
    """Image files that tables may name."""
    is_alone: bool = False
    """Whether the user gave one file by itself."""


@dataclass(frozen=True, slots=True)
class _Columns:
    image: Choice
    label: Choice
    split: str | None


class TableSource:
    """Rows of images and labels in one file or several."""

    def __init__(self, config: SourceConfig, tables: TableSet) -> None:
        """Find the splits and the columns.

        Raises:
            SourceError: they are not clear, or what a row names is not there.
        """
        self._files = tables.files
        self._tables = tables
        self._beside = tables.beside
        self._chosen: Chosen = choose_files(
            tables.names,
            self._place,
            subset=config.subset,
            readme=readme_of(tables.files),
            is_alone=tables.is_alone,
        )
        self._notes: list[str] = []
        self._columns = self._find_columns(config)

    @property
    def _place(self) -> str:
        return self._files.root

    def _open(self, name: str) -> Rows:
        return PartitionedRows(self._tables.open(name), partitions_of(name))

    def _find_columns(self, config: SourceConfig) -> _Columns:
        """Choose the columns by the first file to train on that has rows."""
        train = [name for split, name in self._chosen.entries if split == "train"]
        for number, name in enumerate(train):
            with self._open(name) as rows:
                if rows.num_rows or number == len(train) - 1:
                    return self._columns_in(rows, config)
        raise AssertionError("a set has a file to train on")

    def _columns_in(self, rows: Rows, config: SourceConfig) -> _Columns:
        images = likely_images(rows)
        paths = [] if images else self._path_columns(rows)
        if not images and not paths and config.image_column not in rows.columns:
            raise self._no_images(rows)
        may_be = [n for n, c in rows.columns.items() if c.is_image or c.is_text]
        given = config.image_column if config.image_column in may_be else None
        image = choose_image(
            config.image_column, [given] if given else images or paths, self._place
        )
        labels = [
            name
            for name, column in rows.columns.items()
            if column.is_label
            and name not in (image.name, *paths)
            and (not column.is_image or is_usual_label(name) or name == config.label_column)
        ]
        split = self._split_column(rows, labels)
        likely = [name for name in labels if name != split or name == config.label_column]
        named = {**self._chosen.class_names, **rows.class_names}
        if config.label_column is None:
            check_one_hot({name: rows.first(name, _SAMPLED_ROWS) for name in likely}, rows.place)
        label = choose_label(config.label_column, likely, named, list(rows.columns), self._place)
        return _Columns(image, label, None if split == label.name else split)

    def _no_images(self, rows: Rows) -> SourceError:
        text = [name for name, column in rows.columns.items() if column.is_text]
        example = ""
        for name in text[:1]:
            value = next(iter(rows.first(name, 1)), None)
            example = f"; {name} begins with {str(value)[:60]!r}, which is no image's file"
        shown = ", ".join(list(rows.columns)[:12]) or "no columns"
        return SourceError(
            f"image column (--image-column) is not clear in {rows.place}: none holds images or "
            f"names image files beside it, of {shown}{example}"
        )

    def _path_columns(self, rows: Rows) -> list[str]:
        """Return the columns whose first cells name images that are there.

        Those with an image's ending, where there are such: a label such as 1 may name 1.png too.
        """
        text = [name for name, column in rows.columns.items() if column.is_text]
        cells = {
            name: [str(cell) for cell in rows.first(name, _SAMPLED_ROWS) if cell] for name in text
        }
        ended = [n for n in text if cells[n] and all(map(has_image_suffix, cells[n]))]
        table = self._name_of(rows)
        found = [n for n in ended or text if self._beside.names_images(cells[n], table)]
        usual = [name for name in found if name.lower() in PATH_NAMES]
        return usual[:1] or found

    def _name_of(self, rows: Rows) -> str:
        return rows.place.removeprefix(f"{self._place}/")

    def _split_column(self, rows: Rows, candidates: Sequence[str]) -> str | None:
        """Return the column of splits, where no file's name tells one."""
        if len({split for split, _ in self._chosen.entries}) > 1:
            return None
        usual = (n for name in SPLIT_NAMES for n in candidates if n.lower() == name)
        for name in usual:
            found = set(map(str, rows.labels(name)))
            if any(split_of_name(cell) for cell in found):
                return name
            if name.lower() == "split":
                shown = ", ".join(sorted(found)[:3])
                self._notes.append(f"column {name!r} is not used: it names no splits ({shown})")
        return None

    @cached_property
    def _rows(self) -> RowLabels:
        """Split and class of every row."""
        found = [self._file_labels(split, name) for split, name in self._chosen.entries]
        if self._columns.split is None:
            take_splits_of_paths(found, self._place)
        return read_labels(found, self._columns.label, self._place)

    def _file_labels(self, split: str, name: str) -> FileLabels:
        columns, label = self._columns, self._columns.label.name
        with self._open(name) as rows:
            has_label = label in rows.columns
            values = list(rows.labels(label)) if has_label or split == "train" else None
            own = rows.class_names.get(label)
            splits = None
            if columns.split is not None:
                splits = [split_of_name(str(cell)) or "" for cell in rows.labels(columns.split)]
            paths = None
            if any(_path_in(cell) for cell in rows.first(columns.image.name, _SAMPLED_ROWS)):
                paths = list(self._found_paths(rows))
            candidates = [n for n, c in rows.columns.items() if c.is_label]
        return FileLabels(
            name=name,
            split=split,
            values=values,
            class_names=own or self._chosen.class_names.get(label),
            splits=splits,
            paths=paths,
            candidates=candidates,
        )

    def _found_paths(self, rows: Rows) -> Iterator[str | None]:
        """Yield the file that each row names; None where it has the image itself."""
        table = self._name_of(rows)
        for row, cell in enumerate(rows.images(self._columns.image.name)):
            path = _path_in(cell)
            where = f"{rows.place} row {row}"
            yield None if path is None else self._beside.found(path, table, where)

    def counts(self) -> Counts:
        """Return the rows of each class; reads the label column alone."""
        return self._rows.counts()

    def reading(self) -> Reading:
        """Return which files, splits and columns are used, and why."""
        columns, rows = self._columns, self._rows
        used = {path for file in rows.files for path in file.paths or () if path}
        unused = [
            LeftOut(place=name, reason="in no table")
            for name in self._tables.images
            if name not in used
        ]
        others = [file for file in self._tables.left_out if file.place not in used]
        left_out = (*others, *self._chosen.left_out, *rows.left_out, *unused)
        told = [
            f"image: {columns.image.name} ({columns.image.reason})",
            f"label: {columns.label.name} ({columns.label.reason})",
        ]
        if columns.split is not None:
            told.append(f"split: {columns.split}")
        tables = f"{len(rows.files):,} tables, {self._chosen.text}"
        return Reading(
            layout=tables if len(rows.files) != 1 else f"one table, {rows.files[0].name}",
            num_files=len(rows.files) + len(used) + len(left_out),
            left_out=left_out,
            columns=tuple(told),
            notes=(*self._chosen.notes, *self._notes, *rows.notes),
        )

    def fingerprint(self) -> str:
        """Return a digest of the files' contents and of how they are read."""
        columns = [self._columns.image.name, self._columns.label.name, self._columns.split]
        names = [name for _, name in self._chosen.entries]
        images = sorted({path for file in self._rows.files for path in file.paths or () if path})
        return sha256_of_json(
            [
                columns,
                self._chosen.entries,
                tags(self._files, names),
                [images, tags(self._beside.files, images) if images else []],
                sorted(self._chosen.class_names.items()),
            ]
        )

    def sample(self, most: int) -> Sequence[Item]:
        """Return some rows: where images are in the tables, the first of each file."""
        files = self._rows.files
        if files and all(file.paths and None not in file.paths for file in files):
            return evenly(list(self.items()), most)
        each = max(1, most // max(1, len(files)))
        found = (islice(self._items_of(file), each) for file in evenly(files, most))
        return [item for of_file in found for item in of_file]

    def items(self) -> Iterator[Item]:
        """Yield the rows, file by file."""
        for file in self._rows.files:
            yield from self._items_of(file)

    def _items_of(self, file: FileLabels) -> Iterator[Item]:
        with self._open(file.name) as rows:
            paths = file.paths or []
            # Where all images are files, the table need not be read again.
            is_read = not paths or None in paths
            cells = rows.images(self._columns.image.name) if is_read else repeat(None)
            labelled = zip(
                cells, paths or repeat(None), file.row_splits, file.row_classes, strict=False
            )
            for row, (cell, path, split, class_name) in enumerate(labelled):
                if class_name is None:
                    continue
                place = f"{self._place}/{file.name} row {row}"
                yield Item(
                    place=place,
                    class_name=class_name,
                    split=split,
                    load=partial(self._load, cell, path, place),
                    peek=None if path is None else partial(self._beside.files.head, path),
                )

    def _load(self, cell: Any, path: str | None, place: str) -> bytes | Pixels:
        if path is not None:
            return self._beside.files.read(path)
        return image_of(cell.as_py() if hasattr(cell, "as_py") else cell, place)


def _path_in(cell: Any) -> str | None:
    """Return the path in an image cell without bytes."""
    value = cell.as_py() if hasattr(cell, "as_py") else cell
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        return None if value.get("bytes") else value.get("path") or None
    return value if isinstance(value, str) else None
