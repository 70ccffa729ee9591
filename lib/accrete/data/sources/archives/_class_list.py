"""Names of numbered classes in a file beside the images: `classes.txt` and its like."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from accrete.core.untrusted import decode_json
from accrete.data._image_kinds import what_it_is
from accrete.data.sources.files import Files
from accrete.data.sources.ranges import explained
from accrete.errors import SourceError

SUFFIXES = (".txt", ".json")
"""Of files that may name classes."""

_LISTS = ("classes.txt", "classnames.txt", "class_names.txt")
_NUMBERINGS = ("class_to_idx.json", "_class_to_idx.json")
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassList:
    """What classes are called, by their number."""

    file_name: str | None
    """Where that stands; None: nowhere."""
    names: tuple[str, ...] = ()
    """In the order of their numbers; nothing where they are no names."""
    note: str = ""
    """Why they are no names."""

    def notes(self, labels: Collection[int]) -> list[str]:
        """Return what is to be said of it, given the numbers that images have."""
        if self.note or not labels or not self.names:
            return [self.note] if self.note else []
        num_unused = len(self.names) - len(labels)
        unused = f"; {num_unused:,} of those have no image" if num_unused else ""
        return [f"classes are named by {self.file_name}{unused}"]


def class_list(files: Files, names: Iterable[str], shards: Iterable[str]) -> ClassList:
    """Return the classes that a file beside the shards, or above them, names.

    Args:
        files: where they lie.
        names: of files that may be looked at.
        shards: of the files with the images.

    Raises:
        SourceError: the file cannot be read, or is no such list.
    """
    beside = {parent for shard in shards for parent in PurePosixPath(shard).parents}
    found = [path for path in map(PurePosixPath, names) if path.parent in beside]
    lists = [path for path in found if path.name.lower() in (*_LISTS, *_NUMBERINGS)]
    if not lists:
        return ClassList(file_name=None)
    name = str(min(lists, key=lambda path: (len(path.parts), str(path))))
    listed = _read(files, name)
    twice = next((text for text, count in Counter(listed).items() if count > 1), None)
    if twice is not None:
        note = f"classes keep their numbers: {name} names {twice[:80]!r} twice"
        return ClassList(file_name=name, note=note)
    return ClassList(file_name=name, names=tuple(listed))


def _read(files: Files, name: str) -> list[str]:
    place = f"{files.root}/{name}"
    with explained(place), files.open(name) as stream:
        data = stream.read(_MAX_BYTES + 1)
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it is over {_MAX_BYTES:,} bytes")
        what = what_it_is(data)
        if what not in (None, "it is text"):
            raise ValueError(what)
        listed = _numbered(decode_json(data)) if name.endswith(".json") else _lines(data)
    except ValueError as error:
        raise SourceError(
            f"{place} does not name the classes ({error}): mend it, or leave it out with --exclude"
        ) from error
    return listed


def _lines(data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8") from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise ValueError(f"line {lines.index('') + 1} is empty")
    if not lines:
        raise ValueError("it is empty")
    return lines


def _numbered(numbers: Any) -> list[str]:
    if not isinstance(numbers, dict) or not numbers:
        raise ValueError("it is no object of names and numbers")
    by_number = {number: name for name, number in numbers.items() if type(number) is int}
    if sorted(by_number) != list(range(len(numbers))):
        raise ValueError(f"its numbers are not 0..{len(numbers) - 1}, each once")
    return [by_number[number] for number in range(len(numbers))]
