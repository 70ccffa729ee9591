"""Parquet files in the Hugging Face image layout: encoded images and labels in columns."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from accrete.config import SourceConfig
from accrete.digest import sha256_of_json
from accrete.errors import LabelError, SourceError
from accrete.sources.base import Counts, Item, check_no_class_is_empty
from accrete.sources.files import open_files, tags
from accrete.sources.splits import SPLIT_NAMES, normalized_splits

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")
_BATCH_ROWS = 1000


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
        self._files = open_files(config.location or "")
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

    def _open(self, name: str, *columns: str) -> Any:
        """Open a file that must have some columns."""
        try:
            file = pq.ParquetFile(self._files.open(name))
        except (pa.ArrowInvalid, OSError) as error:
            detail = str(error).splitlines()[0]
            raise SourceError(f"{self._place}/{name} is no Parquet file ({detail})") from error
        for column in columns:
            if column not in file.schema_arrow.names:
                raise SourceError(
                    f"{self._place}/{name} has no column {column!r}, other files of the set have"
                )
        return file

    def _find_columns(self, config: SourceConfig) -> _Columns:
        schema: Any = self._open(self._entries[0][1]).schema_arrow
        features = _features(schema)
        image = _pick(
            config.image_column,
            [field.name for field in schema if _is_image(field.type)],
            _IMAGE_NAMES,
            "image column (--image-column)",
            self._place,
        )
        labels = [f.name for f in schema if f.name != image and _is_label(f.type)]
        class_labels = [n for n in labels if features.get(n, {}).get("_type") == "ClassLabel"]
        label = _pick(
            config.label_column,
            labels if config.label_column else class_labels or labels,
            _LABEL_NAMES,
            "label column (--label-column)",
            self._place,
        )
        names = features.get(label, {}).get("names")
        return _Columns(image, label, tuple(names) if names else None)

    @cached_property
    def _labels(self) -> dict[str, list[str]]:
        """Class name of every row, by file."""
        return {name: self._read_labels(name) for _, name in self._entries}

    def _read_labels(self, file_name: str) -> list[str]:
        column = self._open(file_name, self._columns.label).read([self._columns.label]).column(0)
        values = column.to_pylist()
        names = self._columns.names
        return [
            _class_name(value, names, f"{self._place}/{file_name} row {row}")
            for row, value in enumerate(values)
        ]

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
        check_no_class_is_empty(counts["train"], self._place)
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
            batches = self._open(file_name, self._columns.image).iter_batches(
                batch_size=_BATCH_ROWS, columns=[self._columns.image]
            )
            for batch in batches:
                for value in batch.column(0):
                    place = f"{self._place}/{file_name} row {row}"
                    yield Item(
                        place=place,
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


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the Hugging Face features of a schema, none where it has none."""
    metadata = schema.metadata or {}
    try:
        info = json.loads(metadata.get(b"huggingface", b"{}"))
        features = info.get("info", {}).get("features", {})
        return features if isinstance(features, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _is_image(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_label(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )


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
            raise LabelError(f"{place} has label {value!r}, which is no class of the set")
        return value
    if value < 0 or (names is not None and value >= len(names)):
        limit = f"0..{len(names) - 1}" if names else "0 or more"
        raise LabelError(f"{place} has label {value}: it must be {limit}")
    return names[value] if names else str(value)


def _image_bytes(value: Any) -> bytes:
    """Return the encoded image of a cell; nothing where it is null."""
    cell = value.as_py()
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data or b""
