"""Which columns of a table are the image and its label: the rule, and how it is told. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accrete.errors import SourceError

IMAGE_NAMES = (
    *("image", "img", "images", "pixel_values", "pixels", "picture", "photo"),
    *("jpg", "jpeg", "png", "webp"),
)
LABEL_NAMES = (
    *("label", "labels", "fine_label", "class", "target", "category", "class_name", "label_name"),
    *("class_label", "cls", "y"),
)
PATH_NAMES = (
    *("file_name", "filename", "file", "path", "filepath", "file_path", "image", "img"),
    *("image_path", "image_file", "image_name", "image_id", "id"),
)
SPLIT_NAMES = ("split", "subset", "partition", "usage", "phase", "set", "data set")
"""Usual names, in the order in which they are chosen; in lower case."""

_NEVER_LABELS = re.compile(
    r"|__index_level_\d+__|unnamed: ?\d+|index|idx|id|image_?id|file_?name|width|height|size"
    r"|caption|text|description|url|md5|sha\d*|hash|bbox|boxes|objects|annotations|__key__"
)
"""Names of columns that are no labels unless somebody says so: pandas' index among them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A column, and why it was chosen."""

    name: str
    """Of the column."""
    reason: str
    """In a few words."""
    is_usual: bool
    """Whether it was given, or has a usual name; else it is the only one that fits."""


def check_one_hot(cells: Mapping[str, Sequence[object]], place: str) -> None:
    """Refuse a table that has a column of 0 and 1 for each class.

    Args:
        cells: the first ones of each column that may be the label.
        place: the table, for errors.

    Raises:
        SourceError: names the columns.
    """
    if any(_last(name) in LABEL_NAMES for name in cells):
        return
    found = [n for n, values in cells.items() if values and set(map(str, values)) <= _ONE_HOT]
    rows = zip(*(cells[name] for name in found), strict=False)
    if len(found) > 2 and all(sum(float(str(cell)) for cell in row) <= 1 for row in rows):
        raise SourceError(
            f"{place} has a column of 0 and 1 for each of {len(found)} classes "
            f"({', '.join(found[:5])}): write one column label with the name of the class"
        )


_ONE_HOT = frozenset(("0", "1", "0.0", "1.0"))


def choose_image(given: str | None, candidates: Sequence[str], place: str) -> Choice:
    """Return the image column.

    Args:
        given: by --image-column.
        candidates: columns that may hold images.
        place: the set, for errors.

    Raises:
        SourceError: it is not clear; names the candidates.
    """
    return _choose(
        given,
        _Question(
            what="image",
            candidates=candidates,
            among=candidates,
            usual=IMAGE_NAMES,
            others=candidates,
            place=place,
        ),
    )


def choose_label(
    given: str | None,
    candidates: Sequence[str],
    class_names: Mapping[str, Sequence[str]],
    others: Sequence[str],
    place: str,
) -> Choice:
    """Return the label column.

    The one that was given. Else of those that say their classes' names (ClassLabel) and have a
    usual name the first by LABEL_NAMES; a ClassLabel of another name beside a usual one without
    names is not clear; else the only ClassLabel, the first usual one, or the only one that fits.

    Raises:
        SourceError: it is not clear; names the candidates.
    """
    likely = [name for name in candidates if not _NEVER_LABELS.fullmatch(_last(name))]
    named = [name for name in likely if name in class_names]
    usual = [name for name in likely if _last(name) in LABEL_NAMES]
    both = [name for name in named if name in usual]
    among = both or list(dict.fromkeys([*named, *usual])) or likely
    return _choose(
        given,
        _Question(
            what="label",
            candidates=candidates,
            among=among,
            usual=() if named and usual and not both else LABEL_NAMES,
            others=others,
            place=place,
        ),
    )


def is_usual_label(name: str) -> bool:
    """Return whether a column has a usual name of labels."""
    return _last(name) in LABEL_NAMES


def _last(name: str) -> str:
    return name.rpartition(".")[2].strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is to be chosen."""

    what: str
    candidates: Sequence[str]
    """Columns that may be given."""
    among: Sequence[str]
    """Those of them that may be found."""
    usual: Sequence[str]
    others: Sequence[str]
    place: str


def _choose(given: str | None, question: _Question) -> Choice:
    candidates, among, place = question.candidates, question.among, question.place
    option = f"{question.what} column (--{question.what}-column)"
    if given is not None:
        if given not in candidates:
            fits = ", ".join(candidates) or "none that fits"
            raise SourceError(f"{option} is {given!r}, but {place} has {fits}")
        return Choice(given, "as given", is_usual=True)
    for name in question.usual:
        found = [each for each in among if _last(each) == name]
        found = [each for each in found if "." not in each] or found
        if len(found) == 1:
            return Choice(found[0], _before(found[0], candidates), is_usual=True)
    if len(among) != 1:
        fits = ", ".join(among)
        fits = fits or f"(none fits, of {', '.join(question.others[:12]) or 'no columns'})"
        raise SourceError(f"{option} is not clear in {place}: give one of {fits}")
    return Choice(among[0], _before(among[0], candidates), is_usual=False)


def _before(chosen: str, candidates: Sequence[str]) -> str:
    rest = [name or "one without a name" for name in candidates if name != chosen]
    return f"before {', '.join(rest[:5])}" if rest else "the only one"
