"""Class order: from a data set's classes to the labels that a model is trained on.

A `class_id` is the class's position in the data set's own list; a `label` is its position in the
class order.
"""

import hashlib
from collections.abc import Iterable, Sequence

from accrete.errors import PlanError


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
