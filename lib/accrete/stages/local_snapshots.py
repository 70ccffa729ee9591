"""The newest snapshot of a stage on this node's disk: without torch, for steps that reuse a stage.

It is there in the moment that a process has after SIGTERM, and while a store is away. Its name is
that of its key in the store, with size and SHA-256, so that a half-written one is passed over;
nothing is flushed for it. A node whose disk is gone has the store's.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from accrete.core.disk import disk_full_named
from accrete.core.hashing import sha256_of_file
from accrete.errors import DiskFullError
from accrete.store import keys
from accrete.store.cache import NodeCache

T = TypeVar("T")


class LocalSnapshots:
    """Those of one stage, in a folder of the node's cache."""

    def __init__(self, stage: str, cache: NodeCache) -> None:
        """Name the folder; it is made with the first of them."""
        self._prefix = keys.snapshot_prefix(stage)
        self._folder = cache.work_path.parent / self._prefix

    def listed(self) -> list[tuple[str, int]]:
        """Return key and position of each."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:
            return []
        found = [(name, keys.parse_snapshot_key(name)) for name in names]
        return [(f"{self._prefix}{name}", parsed[0]) for name, parsed in found if parsed]

    def take(self, path: Path, key: str) -> Path:
        """Move a snapshot's file here, and return where it is.

        Args:
            path: on the cache's file system.
            key: as the store has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return path.replace(self._path(key))
        self._folder.mkdir(exist_ok=True)  # another attempt has just deleted it
        return path.replace(self._path(key))

    def whole(self, key: str) -> Path | None:
        """Return the file of one of those listed, None where it is not what its name says."""
        parsed = keys.parse_snapshot_key(key)
        assert parsed is not None
        path = self._path(key)
        with suppress(OSError):  # another attempt has just deleted it
            if path.stat().st_size == parsed[1] and sha256_of_file(path) == parsed[2]:
                return path
        return None

    def delete(self, before: int | None = None, keep: Path | None = None) -> None:
        """Delete those that are of no use any more; what cannot be deleted costs room alone.

        Args:
            before: a position; None: all.
            keep: one that stays.
        """
        for key, position in self.listed():
            if (before is None or position < before) and self._path(key) != keep:
                with suppress(OSError):
                    self._path(key).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()  # only where it is empty

    def _path(self, key: str) -> Path:
        return self._folder / key.rpartition("/")[2]


def with_room(work: Callable[[], T], cache: NodeCache, keep: str | None = None) -> T:
    """Return what some work on a cache's disk comes to, done again without snapshots if it is full.

    Args:
        work: that writes there.
        cache: of this node.
        keep: a stage whose snapshots stay; None: none do.

    Raises:
        DiskFullError: there is no room for it all the same.
    """
    try:
        with disk_full_named(cache.work_path):
            return work()
    except DiskFullError:
        kept = keys.snapshot_prefix(keep).rstrip("/") if keep else None
        folders = (cache.work_path.parent / keys.snapshot_prefix()).glob("*")
        root = cache.work_path.parent
        files = [p for f in folders if str(f.relative_to(root)) != kept for p in f.glob("*")]
        if not files:
            raise
    for path in files:
        with suppress(OSError):  # another attempt has just deleted it
            path.unlink(missing_ok=True)
    return work()
