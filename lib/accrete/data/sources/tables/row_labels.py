"""The split and class of each row of tables: names merged, hidden labels set apart. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from accrete.config.classes import check_class_names
from accrete.data.sources.base import Counts, LeftOut
from accrete.data.sources.label_rule import check_is_label
from accrete.data.sources.names import ClassNames
from accrete.data.sources.split_names import sole_splits, split_of_folders
from accrete.data.sources.tables.cells import HIDDEN, Label, label_of
from accrete.data.sources.tables.columns import Choice
from accrete.errors import LabelError, SourceError


@dataclass(slots=True, kw_only=True)
class FileLabels:
    """What a file says of its rows; `read_labels` completes it."""

    name: str
    """Of the file."""
    split: str
    """Of all its rows, where `splits` is None."""
    values: list[Any] | None
    """Cells of the label column; None: it has none."""
    class_names: tuple[str, ...] | None
    """Of a ClassLabel."""
    splits: list[str] | None
    """Of each row."""
    paths: list[str | None] | None
    """The file of each row's image, None where it has its own; None: the table has no paths."""
    candidates: Sequence[str]
    """Columns that may be labels, for errors."""
    row_splits: list[str] = field(default_factory=list)
    """Split of each row, as it is used."""
    row_classes: list[str | None] = field(default_factory=list)
    """Class of each row; None: it is left out."""

    @property
    def num_rows(self) -> int:
        """How many rows are known of."""
        return len(self.values or self.splits or self.paths or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLabels:
    """Split and class of every row."""

    files: tuple[FileLabels, ...]
    """Those that are read."""
    classes: tuple[str, ...]
    """In the set's own order."""
    left_out: tuple[LeftOut, ...]
    """Files without a labelled row."""
    notes: tuple[str, ...]
    """What somebody should know."""

    def counts(self) -> Counts:
        """Return the rows of each split and class."""
        found: dict[str, dict[str, int]] = {"train": dict.fromkeys(self.classes, 0)}
        for file in self.files:
            for split, name in zip(file.row_splits, file.row_classes, strict=True):
                if name is not None:
                    of_split = found.setdefault(split, dict.fromkeys(self.classes, 0))
                    of_split[name] += 1
        return found


def read_labels(files: Sequence[FileLabels], choice: Choice, place: str) -> RowLabels:
    """Return the class of each row of all files.

    Labels that are numbers mean the names of their own file's ClassLabel: files may list the same
    classes in another order. A split other than training whose labels are all hidden (-1) or
    missing is left out; so is one without rows.

    Raises:
        LabelError: a label names no class, or is missing where others are not.
        SourceError: the column is no label, or some files name their classes and others do not.
    """
    _check_names(files, choice, place)
    names = ClassNames(place)
    notes: list[str] = []
    left_out: list[LeftOut] = []
    for file in files:
        if file.values is not None and not file.num_rows:
            notes.append(f"{file.name} has no rows")
    hidden = _hidden_splits(files, choice)
    for split, why in hidden.items():
        notes.append(f"the {split} split is left out: {why}")
    num_of_no_split = sum(split == "" for file in files for split in file.splits or ())
    if num_of_no_split:
        notes.append(f"{num_of_no_split:,} rows are left out, of splits of other names")
    used = []
    for file in files:
        splits = file.splits or [file.split] * file.num_rows
        if not file.values or all(split in hidden for split in splits):
            reason = "no labels" if file.split in hidden or splits else "no rows"
            left_out.append(LeftOut(place=file.name, reason=reason))
            continue
        _complete(file, splits, {*hidden, ""}, names, place)
        used.append(file)
    used_as = sole_splits({split for file in used for split in file.row_splits})
    for file in used:
        file.row_splits = [used_as[split] for split in file.row_splits]
    notes += _check_paths(used, place)
    classes = _class_order(used, names)
    check_is_label(
        f"label column {choice.name!r}",
        classes,
        sum(len(file.row_classes) for file in used),
        is_usual=choice.is_usual,
        others=[name for file in used[:1] for name in file.candidates if name != choice.name],
    )
    return RowLabels(
        files=tuple(used),
        classes=classes,
        left_out=tuple(left_out),
        notes=(*notes, *names.notes()),
    )


def _check_names(files: Sequence[FileLabels], choice: Choice, place: str) -> None:
    for file in files:
        if file.class_names:
            check_class_names(file.class_names, place)
    named = [file for file in files if file.class_names]
    for file in files:
        if named and not file.class_names and any(map(_is_number, file.values or ())):
            raise SourceError(
                f"{place}/{file.name} has numbers in column {choice.name!r} that "
                f"{named[0].name} has names for, and it names none: which class a number means is "
                "not clear; write both with the names, or the labels as text"
            )


def _is_number(value: Any) -> bool:
    value = value[0] if isinstance(value, list) and value else value
    is_hidden = _state(value) != "label"
    return isinstance(value, (bool, int, float, Decimal)) and not is_hidden


def _hidden_splits(files: Sequence[FileLabels], choice: Choice) -> dict[str, str]:
    """Return the splits, not to train on, that have no label at all, and why."""
    states: dict[str, set[str]] = {}
    for file in files:
        if file.splits is not None and file.values is not None:
            pairs: Iterable[tuple[str, Any]] = zip(file.splits, file.values, strict=True)
            for split, value in pairs:
                states.setdefault(split, set()).add(_state(value))
        elif file.values is None:
            states.setdefault(file.split, set()).add("column")
        else:
            states.setdefault(file.split, set()).update({_state(value) for value in file.values})
    why = {"hidden": f"all its labels are {HIDDEN}", "none": "it has no labels"}
    why |= {"column": f"it has no column {choice.name!r}"}
    lacking = next((file for file in files if file.values is None and file.candidates), None)
    if lacking is not None:
        why["column"] += f" (it has {', '.join(lacking.candidates[:5])})"
    return {
        split: why[min(found)]
        for split, found in states.items()
        if split != "train" and found and "label" not in found
    }


def _state(value: Any) -> str:
    if isinstance(value, list):
        return _state(value[0]) if len(value) == 1 else "label" if value else "none"
    if value is None or value == "" or value != value:  # noqa: PLR0124  NaN, as pandas writes it
        return "none"
    return "hidden" if value in (HIDDEN, str(HIDDEN)) else "label"


def _complete(
    file: FileLabels, splits: list[str], hidden: set[str], names: ClassNames, place: str
) -> None:
    """Fill in the class of each row of a file."""
    known: dict[Any, str] = {}  # a class's name is kept once, not once a row
    for row, (cell, split) in enumerate(zip(file.values or (), splits, strict=True)):
        if split in hidden:
            file.row_classes.append(None)
            continue
        where = f"{place}/{file.name} row {row}"
        value = label_of(cell, where) if isinstance(cell, (list, dict)) else cell
        key = (type(value), value)
        if key not in known:
            known[key] = names.clean(
                _class_name(label_of(value, where), file.class_names, where), where
            )
        file.row_classes.append(known[key])
    file.row_splits = splits


def _class_name(label: Label, names: tuple[str, ...] | None, place: str) -> str:
    """Return the class of a label, as its file names it.

    Raises:
        LabelError: missing, negative, or not one of the named ones.
    """
    if label is None or label == "":
        raise LabelError(f"{place} has no label: give it one or remove the row")
    if isinstance(label, str):
        if label == str(HIDDEN):
            raise LabelError(f"{place} has label {label}: it must be 0 or more")
        if names is not None and label not in names:
            raise LabelError(f"{place} has label {label[:80]!r}, which is no class of the set")
        return label
    if label < 0 or (names is not None and label >= len(names)):
        limit = f"0..{len(names) - 1}" if names else "0 or more"
        raise LabelError(f"{place} has label {label}: it must be {limit}")
    return names[label] if names else str(label)


def _check_paths(files: Sequence[FileLabels], place: str) -> list[str]:
    """Refuse an image file that is named as two classes; tell of those that are named twice.

    Raises:
        LabelError: names the first.
    """
    seen: dict[str, tuple[str, str]] = {}
    counted: Counter[str] = Counter()
    in_two_splits = []
    for file in files:
        named = zip(file.paths or (), file.row_classes, file.row_splits, strict=bool(file.paths))
        for path, name, split in named:
            if name is None or path is None:
                continue
            counted[path] += 1
            other, other_split = seen.setdefault(path, (name, split))
            if other != name:
                raise LabelError(
                    f"{place}: {path} is named twice: as {other!r} and as {name!r}; an image has "
                    "one class"
                )
            if other_split != split:
                in_two_splits.append(path)
    twice = [path for path, count in counted.items() if count > 1]
    notes = []
    if in_two_splits:
        notes.append(f"{len(in_two_splits):,} images are in two splits: {in_two_splits[0]}")
    if twice:
        notes.append(f"{len(twice):,} images are named more than once, and count so: {twice[0]}")
    return notes


def take_splits_of_paths(files: Sequence[FileLabels], place: str) -> None:
    """Give rows the splits of their images' folders, where no table tells one.

    Raises:
        SourceError: some folders tell splits, one to train on among them, and others do not.
    """
    if {file.split for file in files} != {"train"} or any(file.splits for file in files):
        return
    paths = [path for file in files for path in file.paths or () if path is not None]
    splits = {path: split_of_folders(path) for path in paths}
    if "train" not in splits.values() or any(file.paths is None for file in files):
        return
    without = next((path for path, split in splits.items() if split is None), None)
    if without is not None:
        raise SourceError(
            f"{place}: tables name images in folders of splits, and {without}, which is in none: "
            "add a column split to the table, or leave its rows out"
        )
    for file in files:
        file.splits = [str(splits[str(path)]) for path in file.paths or ()]


def _class_order(files: Sequence[FileLabels], names: ClassNames) -> tuple[str, ...]:
    """Return all classes: as ClassLabels list them, else sorted, numbers by their value."""
    listed = dict.fromkeys(names.clean(name) for file in files for name in file.class_names or ())
    found = {name for file in files for name in file.row_classes if name is not None}
    rest = sorted(
        found - listed.keys(), key=lambda name: (len(name), name) if name.isdigit() else (0, name)
    )
    return (*listed, *rest)
