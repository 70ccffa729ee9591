"""What may name a class, and class order: from a data set's classes to the labels of a model.

A `class_id` is the class's position in the data set's own list; a `label` is its position in the
class order.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from accrete.errors import LabelError, PlanError


def seeded_order(names: Iterable[str], seed: int) -> tuple[str, ...]:
    """Return class names in a random order that the seed alone fixes.

    Names are sorted by the SHA-256 of seed and name: the same on every machine and Python, and a
    class that joins later leaves the order of the others as it was.
    """
    return tuple(sorted(names, key=lambda name: (_rank(name, seed), name)))


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def parse_order(text: str, place: str) -> tuple[str, ...]:
    """Return the class names of a class-order file: one a line, blank lines ignored.

    Raises:
        PlanError: the file names a class twice, or none.
    """
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise PlanError(f"{place} names no class: write one class name a line")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PlanError(f"{place} names class {name!r} twice: name each class once")
        seen.add(name)
    return tuple(names)


def check_order(order: Sequence[str], names: Iterable[str], place: str) -> None:
    """Refuse a class order that is not a permutation of the data set's classes.

    Raises:
        PlanError: a class is missing from the order, or unknown to the data set.
    """
    known = set(names)
    for name in order:
        if name not in known:
            raise PlanError(f"{place} names class {name!r}, which the data set does not have")
    missing = sorted(known - set(order))
    if missing:
        raise PlanError(
            f"{place} leaves out {len(missing)} classes, the first is {missing[0]!r}: name them all"
        )


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
