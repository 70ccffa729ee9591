"""Files below a local folder, of some kinds, none of which leads out of it.

Folders of images come from others: a link may lead to a private file or round in a circle, a pipe
may never end, a folder may be closed to us. None of that is left out silently.
"""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from accrete.core.units import format_path
from accrete.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What lies below a folder; names are relative, with `/` between their parts, sorted."""

    names: tuple[str, ...]
    """Files of the kinds asked for."""
    folders: tuple[str, ...]
    """All folders, empty ones too."""
    num_others: int
    """Files of other kinds."""


def scan(folder: Path, suffixes: Collection[str]) -> Tree:
    """Return what lies below a folder; hidden folders' links are passed over.

    Args:
        folder: where to look; may be a link itself.
        suffixes: of the files asked for, in lower case, with their dot.

    Raises:
        SourceError: a folder cannot be read, a link leads to a folder or out of this one, a file
            that is asked for is no regular file, or a name is no UTF-8.
    """
    names: list[str] = []
    folders: list[str] = []
    num_others = 0
    root = os.path.realpath(folder)
    for path, entry in _entries(folder):
        name = path.relative_to(folder).as_posix()
        if entry.is_dir(follow_symlinks=False):
            folders.append(_utf8(name, path))
        elif PurePosixPath(name).suffix.lower() in suffixes:
            _check_file(path, root, entry)
            names.append(_utf8(name, path))
        elif entry.is_dir() and not entry.name.startswith("."):
            raise SourceError(
                f"{format_path(path)} is a link to a folder, and such links are not followed: "
                "move or copy the folder here"
            )
        else:
            num_others += 1
    return Tree(names=tuple(sorted(names)), folders=tuple(sorted(folders)), num_others=num_others)


def _entries(folder: Path) -> Iterator[tuple[Path, "os.DirEntry[str]"]]:
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (OSError, ValueError) as error:
            detail = getattr(error, "strerror", None) or error
            raise SourceError(
                f"folder {format_path(path)} cannot be read ({detail}): change its permissions "
                "or move it away"
            ) from error
        for entry in entries:
            yield path / entry.name, entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path / entry.name)


def _check_file(path: Path, root: str, entry: "os.DirEntry[str]") -> None:
    """Refuse what is no regular file, or lies elsewhere."""
    if entry.is_file(follow_symlinks=False):
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SourceError(
            f"{format_path(path)} cannot be read ({error.strerror}): mend or remove it"
        ) from error
    if not stat.S_ISREG(mode):
        raise SourceError(
            f"{format_path(path)} is no regular file (a link to a folder, a pipe or a device): "
            "remove it"
        )
    real = os.path.realpath(path)
    if os.path.commonpath([root, real]) != root:
        raise SourceError(
            f"{format_path(path)} is a link that leads out of the folder, and such links are not "
            "followed: copy the file here"
        )


def _utf8(name: str, path: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"the name of {format_path(path)} is no UTF-8: rename it") from error
    return name
