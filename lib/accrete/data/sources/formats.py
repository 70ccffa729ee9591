"""Image folders and tables, opened: which files are tables, which images, which neither."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import PurePosixPath

from accrete.config.run import SourceConfig
from accrete.core.untrusted import decode_json
from accrete.data.images import image_suffixes
from accrete.data.sources.base import LeftOut, Source, why_unread
from accrete.data.sources.files import Files, open_files
from accrete.data.sources.folders.imagefolder import (
    ImageFiles,
    ImageFolderSource,
    images_among,
    layout_of,
)
from accrete.data.sources.folders.layout import FlatLayout, Layout
from accrete.data.sources.split_names import words
from accrete.data.sources.tables.beside import ImagesBeside
from accrete.data.sources.tables.rows import Rows
from accrete.data.sources.tables.table_source import TableSet, TableSource
from accrete.data.sources.tables.text_table import TEXT_SUFFIXES, TextRows, TextTable
from accrete.errors import SourceError

_LISTS = (".txt", ".lst")
"""Endings of text that is rather something else where there are tables too."""

_LOOKED_AT = 8
"""Rows of a table, to see whether they name images."""

SUFFIXES = {
    "parquet": (".parquet", ".pq", ".parq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "csv": TEXT_SUFFIXES,
}
"""Endings of a table's files, by kind of source."""


def open_folder(config: SourceConfig) -> Source:
    """Return images in folders; in no class folders: those that a table beside them names.

    Raises:
        SourceError: there are no images, or their classes are not clear.
    """
    files = open_files(config.location or "", image_suffixes(), config.exclude)
    found = images_among(files)
    layout = layout_of(files, found, config.class_level)
    if isinstance(layout, FlatLayout) and config.label_pattern is None:
        tables = deciding_tables(files, found)
        if tables is not None:
            return TableSource(config, tables)
    return ImageFolderSource(config, files, found, layout)


def open_tables(config: SourceConfig) -> Source:
    """Return the rows of tables.

    Raises:
        SourceError: there are none, or they cannot be read.
    """
    files = open_files(config.location or "", SUFFIXES[config.kind], config.exclude)
    is_alone = _is_alone(config.location or "", files)
    around = partial(open_files, files.root, (), config.exclude) if is_alone else lambda: files
    beside = ImagesBeside(files.root, around)
    if config.kind == "csv":
        tables = _alone(files, beside) if is_alone else _text_tables(files, images_among(files))
        if tables is None:
            raise SourceError(
                f"--data {config.location} holds no table of text with a column that names images "
                f"there{_first_cells(files)}: it needs rows such as photos/1.jpg,cat"
            )
        return TableSource(config, tables)
    names = [name for name in files.names() if _ends(name, SUFFIXES[config.kind])]
    if not names and not is_alone:
        raise SourceError(f"--data {config.location} holds no {SUFFIXES[config.kind][0]} file")
    names, unsaved = _saved(files, names or list(files.names()))
    known = {*names, *(file.place for file in unsaved)}
    return TableSource(
        config,
        TableSet(
            files=files,
            names=names,
            open=_opener(config.kind, files),
            beside=beside,
            left_out=[*files.left_out(), *unsaved, *_others(files, known)],
            is_alone=is_alone,
        ),
    )


def has_class_folders(files: Files, found: ImageFiles) -> bool:
    """Return whether there are images that lie in class folders, or may do so."""
    try:
        return bool(found.names) and isinstance(layout_of(files, found, None), Layout)
    except SourceError:
        return True  # of which it is not clear which


def deciding_tables(files: Files, found: ImageFiles) -> TableSet | None:
    """Return tables of text by whose rows images could be read: that name half of them or more."""
    try:
        tables = _text_tables(files, found)
    except SourceError:
        return None  # whatever it is, it names no images
    if tables is None:
        return None
    num_rows = 0
    for name in tables.names:
        with tables.open(name) as rows:
            num_rows += rows.num_rows
    return tables if 2 * num_rows >= len(found.names) else None


def is_list(name: str) -> bool:
    """Return whether a table is plain text: beside class folders rather of splits or boxes."""
    return _ends(name, _LISTS)


def _is_alone(location: str, files: Files) -> bool:
    """Return whether a location is a file, and no folder."""
    return list(files.names()) == [location.rstrip("/").rpartition("/")[2]]


def _opener(kind: str, files: Files) -> Callable[[str], Rows]:
    if kind == "parquet":
        from accrete.data.sources.tables.parquet import ParquetTable

        return lambda name: ParquetTable(files, name)
    from accrete.data.sources.tables.arrow_file import ArrowTable

    return lambda name: ArrowTable(files, name)


def _saved(files: Files, names: Sequence[str]) -> tuple[list[str], list[LeftOut]]:
    """Return the files that belong to sets which `save_to_disk` wrote, and those that do not.

    A set's state.json names them: beside them may be what `datasets` caches, and what an earlier
    set left there.
    """
    states = [name for name in files.names() if PurePosixPath(name).name == "state.json"]
    listed = {}
    for state in states:
        folder = PurePosixPath(state).parent
        try:
            found = decode_json(files.read(state))["_data_files"]
            listed[folder] = {str(folder / str(file["filename"])) for file in found}
        except (ValueError, KeyError, TypeError):
            continue  # another program's
    kept, left_out = [], []
    for name in names:
        own = listed.get(PurePosixPath(name).parent)
        if (own and name not in own) or PurePosixPath(name).match("cache-*.arrow"):
            left_out.append(LeftOut(place=name, reason="no part of the set"))
        else:
            kept.append(name)
    return kept, left_out


def _alone(files: Files, beside: ImagesBeside) -> TableSet:
    """Return a table of text that the user gave by itself."""
    return TableSet(
        files=files,
        names=files.names(),
        open=_TextOpener(files, beside),
        beside=beside,
        is_alone=True,
    )


def _text_tables(files: Files, found: ImageFiles) -> TableSet | None:
    """Return the tables of text that name images, None where there are none."""
    beside = ImagesBeside(files.root, lambda: files)
    opener = _TextOpener(files, beside)
    tables = [name for name in files.names() if _ends(name, TEXT_SUFFIXES)]
    listed = [n for n in tables if "submission" not in words(PurePosixPath(n).stem)]
    names = [name for name in listed if not _ends(name, _LISTS)] or listed
    used = [name for name in names if _names_images(opener, name, beside)]
    if not used:
        return None
    return TableSet(
        files=files,
        names=used,
        open=opener,
        beside=beside,
        left_out=[file for file in found.left_out if file.place not in used],
        images=found.names,
    )


class _TextOpener:
    """Opens tables of text; the last one is kept, since it is read several times."""

    def __init__(self, files: Files, beside: ImagesBeside) -> None:
        self._files, self._beside = files, beside
        self._last: TextTable | None = None

    def table(self, name: str) -> TextTable:
        if self._last is None or self._last.name != name:
            self._last = TextTable(self._files, name)
        return self._last

    def begin(self, name: str) -> TextTable:
        """Return the first rows of a table, which may be anything, and large."""
        return TextTable(self._files, name, only_begin=True)

    def __call__(self, name: str) -> Rows:
        return TextRows(
            self.table(name), lambda cell: self._beside.find(str(cell), name) is not None
        )


def _names_images(opener: _TextOpener, name: str, beside: ImagesBeside) -> bool:
    """Return whether a row near a table's begin has a cell that is an image's path."""
    try:
        rows = opener.begin(name).rows[:_LOOKED_AT]
    except SourceError:
        if _ends(name, _LISTS):
            return False
        raise
    return any(beside.find(str(cell), name) is not None for row in rows for cell in row)


def _first_cells(files: Files) -> str:
    """Return how the tables begin that there are, for an error."""
    for name in files.names():
        if _ends(name, TEXT_SUFFIXES) and not _ends(name, _LISTS):
            rows = TextTable(files, name, only_begin=True).rows
            row = rows[min(1, len(rows) - 1)] if rows else []
            cells = ", ".join(str(cell)[:60] for cell in row[:4])
            return f" ({name} has {cells!r}, of which none is an image's file)"
    return ""


def _others(files: Files, names: Collection[str]) -> list[LeftOut]:
    return [
        LeftOut(place=name, reason=why_unread(name)) for name in files.names() if name not in names
    ]


def _ends(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))
