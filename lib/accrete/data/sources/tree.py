"""Files below a local folder, through links too, each once.

Folders of images come from others: a link may round in a circle, a pipe may never end, a folder may
be closed to us. None of that is left out silently.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from accrete.core.units import format_path
from accrete.data.sources.junk import is_junk_name
from accrete.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What lies below a folder; names are relative, with `/` between their parts, sorted."""

    sizes: dict[str, int]
    """Bytes of each regular file, links to such ones included."""
    folders: tuple[str, ...]
    """All folders, empty ones too."""
    odd: dict[str, str]
    """What is neither, and why it cannot be read: pipes, links that lead nowhere."""


def scan(folder: Path) -> Tree:
    """Return what lies below a folder, links followed.

    Hidden folders and those that systems make (junk.py) are listed as far as they can be read;
    links in them are not followed.

    Args:
        folder: where to look; may be a link itself.

    Raises:
        SourceError: a folder cannot be read, a link leads to a folder that is read already (its
            images would count twice, or never end), or a name is no UTF-8.
    """
    return _Scan(folder).tree()


@dataclass(slots=True)
class _Scan:
    root: Path
    sizes: dict[str, int] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)
    links: list[tuple[Path, str]] = field(default_factory=list)
    """Links to folders, which wait until all plain folders are read."""
    seen: dict[tuple[int, int], str] = field(default_factory=dict)
    """Folders by device and inode."""

    def tree(self) -> Tree:
        self._read(self.root, "", is_junk=False)
        while self.links:
            waiting, self.links = self.links, []
            for path, name in waiting:
                self._read(path, name, is_junk=False)
        return Tree(
            sizes=dict(sorted(self.sizes.items())),
            folders=tuple(sorted(self.folders)),
            odd=dict(sorted(self.odd.items())),
        )

    def _read(self, path: Path, name: str, *, is_junk: bool) -> None:
        waiting = [(path, name, is_junk)]
        while waiting:
            path, name, is_junk = waiting.pop()
            if name:
                self.folders.append(name)
            for entry in self._entries(path, name, is_junk=is_junk):
                child = f"{name}/{entry.name}" if name else entry.name
                child_is_junk = is_junk or is_junk_name(entry.name)
                if not child_is_junk:
                    _check_utf8(child, path / entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((path / entry.name, child, child_is_junk))
                elif not child_is_junk and _is_folder(path / entry.name):
                    self.links.append((path / entry.name, child))
                else:
                    self._add_file(path / entry.name, child)

    def _entries(self, path: Path, name: str, *, is_junk: bool) -> Iterator["os.DirEntry[str]"]:
        try:
            found = path.stat()
            other = self.seen.setdefault((found.st_dev, found.st_ino), name)
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except (OSError, ValueError) as error:
            if is_junk:
                return
            detail = getattr(error, "strerror", None) or error
            raise SourceError(
                f"folder {format_path(path)} cannot be read ({detail}): change its permissions "
                "or move it away"
            ) from error
        if other != name:
            where = format_path(self.root / other) if other else "the folder itself"
            raise SourceError(
                f"{format_path(path)} leads to {where}, whose files are read already: remove the "
                "link"
            )
        yield from entries

    def _add_file(self, path: Path, name: str) -> None:
        try:
            found = path.stat()
        except OSError as error:
            self.odd[name] = f"cannot be read ({error.strerror}): mend or remove it"
            return
        if stat.S_ISREG(found.st_mode):
            self.sizes[name] = found.st_size
        else:
            self.odd[name] = "is no regular file (a pipe or a device): remove it"


def _is_folder(path: Path) -> bool:
    """Return whether a link leads to a folder; not if it leads to itself."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _check_utf8(name: str, path: Path) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"the name of {format_path(path)} is no UTF-8: rename it") from error
