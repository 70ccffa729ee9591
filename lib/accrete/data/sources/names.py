"""Class names as people write them, and as they are used: trimmed, in one Unicode form."""

import unicodedata

from accrete.config.classes import check_class_names
from accrete.errors import LabelError

_UNSEEN = "\u200b\u200c\u200d\u2060\ufeff"
"""Characters of no width, which Unicode does not count among blanks."""


class ClassNames:
    """Cleans the class names of one source, and remembers what it did."""

    def __init__(self, place: str) -> None:
        """Begin with no name; `place` is the source's, for errors."""
        self._place = place
        self._cleaned: dict[str, str] = {}
        self._originals: dict[str, str] = {}

    def clean(self, name: str, place: str | None = None) -> str:
        """Return a class's name in NFC, without blanks at its ends.

        Two spellings of a name in Unicode are one class. Two names that differ in blanks at their
        ends are refused: somebody made two folders or labels of them.

        Args:
            name: as the source has it.
            place: where it stands, for errors; None: the source.

        Raises:
            LabelError: it is no name, or another one becomes the same.
        """
        known = self._cleaned.get(name)
        if known is not None:
            return known
        where = place or self._place
        composed = unicodedata.normalize("NFC", name)
        cleaned = composed.strip().strip(_UNSEEN).strip()
        check_class_names([cleaned or name], where)
        other = self._originals.setdefault(cleaned, composed)
        if other != composed:
            raise LabelError(
                f"{where} has classes {other!r} and {composed!r}, which differ in blanks at their "
                "ends only: merge or rename them"
            )
        self._cleaned[name] = cleaned
        return cleaned

    def notes(self) -> tuple[str, ...]:
        """Return what was done to names, a line each kind."""
        trimmed = sorted(
            {original for name, original in self._originals.items() if name != original}
        )
        spelled = sorted(
            {
                self._cleaned[name]
                for name in self._cleaned
                if unicodedata.normalize("NFC", name) != name
            }
        )
        found = []
        if trimmed:
            found.append(f"blanks at the ends of class names are left out: {shown(trimmed)}")
        if spelled:
            found.append(f"class names are in Unicode's composed form (NFC): {shown(spelled)}")
        return tuple(found)


def shown(names: list[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
