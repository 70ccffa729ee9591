"""What may name a class: text that a person can tell from other names, on one line of a file."""

import unicodedata
from collections.abc import Iterable

from accrete.errors import LabelError

MAX_NAME_LENGTH = 255
"""Characters; what file systems allow a folder, too."""


def check_class_names(names: Iterable[str], place: str) -> None:
    """Refuse names that are empty, too long, not one line of text, or the same to a reader.

    `cat` and `Cat` are two classes: no name becomes a path here, so nothing folds their case.

    Args:
        names: of all classes.
        place: where they come from, for errors.

    Raises:
        LabelError: names the first.
    """
    seen: dict[str, str] = {}
    for name in names:
        _check_name(name, place)
        form = unicodedata.normalize("NFC", name)
        if form not in seen:
            seen[form] = name
            continue
        other = seen[form]
        if other == name:
            raise LabelError(f"{place} names class {name!r} twice: name each class once")
        raise LabelError(
            f"{place} has two classes {name!r} that differ in their Unicode form only "
            f"({other!a} and {name!a}): merge or rename them"
        )


def _check_name(name: str, place: str) -> None:
    if not name.strip():
        raise LabelError(f"{place} has a class without a name ({name!r}): name it")
    if len(name) > MAX_NAME_LENGTH:
        raise LabelError(
            f"{place} has a class name of {len(name):,} characters, {name[:40]!r}…: "
            f"use at most {MAX_NAME_LENGTH}"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise LabelError(
            f"{place} has class {name!a}, with a control character or text that is no "
            "UTF-8 in its name: rename it"
        )
