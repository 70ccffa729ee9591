"""Parquet files in the Hugging Face image layout: encoded images and labels in columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any

from accrete.config.classes import check_class_names
from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.untrusted import decode_json
from accrete.data.sources.base import Counts, Item, check_classes
from accrete.data.sources.files import open_files, tags
from accrete.data.sources.split_names import SPLIT_NAMES, normalized_splits
from accrete.data.sources.table import OpenTable, is_image, is_label
from accrete.errors import LabelError, SourceError

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")


@dataclass(frozen=True, slots=True)
class _Columns:
    image: str
    label: str
    names: tuple[str, ...] | None
    """Class names of a ClassLabel; None: the labels are the names."""


class ParquetSource:
    """Files named `train-…`, `test-…`, `validation-…`, or files of no split at all."""

    def __init__(self, config: SourceConfig) -> None:
        """List the files and find the columns.

        Raises:
            SourceError: no Parquet file, or no usable columns.
        """
        self._files = open_files(config.location or "", (".parquet",))
        names = [name for name in self._files.names() if name.endswith(".parquet")]
        if not names:
            raise SourceError(f"--data {config.location} holds no .parquet file")
        found = [(_split_of(name), name, "") for name in names]
        if not any(split == "train" for split, _, _ in found):
            found = [("train", name, "") for name in names]
        self._entries = [(split, name) for split, name, _ in normalized_splits(found)]
        self._columns = self._find_columns(config)

    @property
    def _place(self) -> str:
        return self._files.root

    def _find_columns(self, config: SourceConfig) -> _Columns:
        with OpenTable(self._files, self._entries[0][1]) as table:
            schema: Any = table.schema
        image = _pick(
            config.image_column,
            [field.name for field in schema if is_image(field.type)],
            _IMAGE_NAMES,
            "image column (--image-column)",
            self._place,
        )
        class_names = _class_label_names(schema)
        labels = [f.name for f in schema if f.name != image and is_label(f.type)]
        class_labels = [name for name in labels if name in class_names]
        label = _pick(
            config.label_column,
            labels if config.label_column else class_labels or labels,
            _LABEL_NAMES,
            "label column (--label-column)",
            self._place,
        )
        names = class_names.get(label)
        if names:
            check_class_names(names, self._place)
        return _Columns(image, label, names or None)

    @cached_property
    def _labels(self) -> dict[str, list[str]]:
        """Class name of every row, by file."""
        return {name: self._read_labels(name) for _, name in self._entries}

    def _read_labels(self, file_name: str) -> list[str]:
        names = self._columns.names
        known: dict[Any, str] = {}  # a class's name is kept once, not once a row
        found: list[str] = []
        with OpenTable(self._files, file_name, label=self._columns.label) as table:
            for row, value in enumerate(table.labels(self._columns.label)):
                if value not in known:
                    place = f"{self._place}/{file_name} row {row}"
                    known[value] = _class_name(value, names, place)
                found.append(known[value])
        return found

    def _class_order(self) -> list[str]:
        if self._columns.names:
            return list(self._columns.names)
        seen = {name for labels in self._labels.values() for name in labels}
        return sorted(seen, key=lambda name: (len(name), name) if name.isdigit() else (0, name))

    def counts(self) -> Counts:
        """Return the rows of each class; reads the label column alone."""
        order = self._class_order()
        counts: dict[str, dict[str, int]] = {}
        for split, file_name in self._entries:
            of_split = counts.setdefault(split, dict.fromkeys(order, 0))
            for name in self._labels[file_name]:
                of_split[name] += 1
        check_classes(counts["train"], self._place)
        return counts

    def fingerprint(self) -> str:
        """Return a digest of the files' contents and of the columns used."""
        columns = [self._columns.image, self._columns.label]
        names = [name for _, name in self._entries]
        return sha256_of_json([columns, self._entries, tags(self._files, names)])

    def items(self) -> Iterator[Item]:
        """Yield the rows, file by file."""
        for split, file_name in self._entries:
            labels = self._labels[file_name]
            row = 0
            with OpenTable(self._files, file_name, image=self._columns.image) as table:
                for value in table.images(self._columns.image):
                    yield Item(
                        place=f"{self._place}/{file_name} row {row}",
                        class_name=labels[row],
                        split=split,
                        load=partial(_image_bytes, value),
                    )
                    row += 1


def _split_of(name: str) -> str:
    """Return the split that a file's name, or its folder's, begins with; else `train`."""
    path = PurePosixPath(name)
    for part in (path.name, *path.parts[:-1]):
        word = part.lower().split("-")[0].split("_")[0].split(".")[0]
        if word in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    return "train"


def _class_label_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Return the class names of each ClassLabel in the Hugging Face metadata of a schema."""
    try:
        info = decode_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info["info"]["features"].items()
        said = {n: f["names"] for n, f in features if f.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {
        column: tuple(names)
        for column, names in said.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def _pick(
    given: str | None, candidates: Sequence[str], usual: Sequence[str], what: str, place: str
) -> str:
    """Return the column that was given, else the one that is usual or alone."""
    if given is not None:
        if given not in candidates:
            raise SourceError(
                f"{what} is {given!r}, but {place} has {', '.join(candidates) or 'none to use'}"
            )
        return given
    for name in usual:
        if name in candidates:
            return name
    if len(candidates) != 1:
        raise SourceError(
            f"{what} is not clear in {place}: give one of {', '.join(candidates) or '(none fits)'}"
        )
    return candidates[0]


def _class_name(value: Any, names: tuple[str, ...] | None, place: str) -> str:
    """Return the class name of a label.

    Raises:
        LabelError: null, negative, or not the number of a class.
    """
    if value is None:
        raise LabelError(f"{place} has no label: give it one or remove the row")
    if isinstance(value, str):
        if names is not None and value not in names:
            raise LabelError(f"{place} has label {value[:80]!r}, which is no class of the set")
        check_class_names([value], place)
        return value
    if value < 0 or (names is not None and value >= len(names)):
        limit = f"0..{len(names) - 1}" if names else "0 or more"
        raise LabelError(f"{place} has label {value}: it must be {limit}")
    return names[value] if names else str(value)


def _image_bytes(value: Any) -> bytes:
    """Return the encoded image of a cell; nothing where it is null."""
    cell = value.as_py()
    data: bytes | None = cell.get("bytes") if isinstance(cell, dict) else cell
    return data or b""
