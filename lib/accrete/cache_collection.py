"""What a node's cache could do without: objects that no run names, and what killed steps left."""

import time
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedFile:
    """A file of the cache that may go."""

    path: Path
    """Where it is."""
    num_bytes: int
    """Its size."""


def unneeded_files(root: Path, named: Container[str], keep: timedelta) -> list[CachedFile]:
    """Return the files of a cache that no run names and nobody wrote lately.

    Args:
        root: the cache's folder; it need not exist.
        named: SHA-256 of the objects that runs name.
        keep: what was written within this time stays, by this machine's clock.
    """
    oldest = time.time() - keep.total_seconds()
    found = []
    for path in _candidates(root):
        with suppress(FileNotFoundError):
            facts = path.lstat()
            is_named = len(path.name) == _SHA256_DIGITS and path.name in named
            if facts.st_mtime < oldest and not is_named:
                found.append(CachedFile(path=path, num_bytes=facts.st_size))
    return found


def remove_files(files: list[CachedFile]) -> None:
    """Remove files; a process that has one open goes on reading it."""
    for file in files:
        file.path.unlink(missing_ok=True)
        with suppress(OSError):
            file.path.parent.rmdir()  # of an attempt, or of objects: only when it is empty


def _candidates(root: Path) -> Iterator[Path]:
    """Yield objects, half-pulled ones and temporary files; compiled code is torch's own."""
    for folder in ("objects", "tmp"):
        yield from sorted(path for path in (root / folder).rglob("*") if not path.is_dir())
