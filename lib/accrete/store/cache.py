"""The node cache: immutable objects on local disk, by their content, checked at each use."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from accrete.core.disk import disk_full_named
from accrete.core.hashing import sha256_of_file
from accrete.errors import AccreteError
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore

PARALLEL_PULLS = 8
"""Objects in flight at once; more does not help a single store and hurts its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What fetching some objects came to."""

    paths: dict[str, Path]
    """Local file of each object, by SHA-256."""
    num_hits: int
    """Objects that were in the cache and whole."""
    pulled_bytes: int
    """Bytes that came from the store."""


class NodeCache:
    """A folder of objects, which counts its hits; processes of one node may share it."""

    def __init__(self, root: Path, store: ObjectStore) -> None:
        """Use a folder, made where it does not exist."""
        self._root = root / "objects"
        self._store = store
        self._lock = Lock()
        self.num_hits = self.num_misses = 0
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AccreteError(
                f"the node cache {root} cannot be made ({error.strerror}): "
                "set ACCRETE_CACHE to a folder that this user can write"
            ) from error

    def fetch(self, refs: Iterable[ObjectRef]) -> Pulled:
        """Make objects local: those the cache lacks, or holds damaged, come from the store.

        Raises:
            IntegrityError: the store's bytes are not those the manifest names.
            ObjectMissingError: the store lacks an object.
            DiskFullError: the cache's disk has no room for it.
        """
        unique = list({ref.sha256: ref for ref in refs}.values())
        with disk_full_named(self._root), ThreadPoolExecutor(PARALLEL_PULLS) as pool:
            was_here = list(pool.map(self._fetch_one, unique))
        return Pulled(
            paths={ref.sha256: self._path(ref) for ref in unique},
            num_hits=sum(was_here),
            pulled_bytes=_sum_missing(unique, was_here),
        )

    def adopt(self, ref: ObjectRef, path: Path) -> None:
        """Move a file that was just made and pushed into the cache, for the next stage here."""
        target = self._path(ref)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)

    @property
    def work_path(self) -> Path:
        """Folder for files that are being made, on the cache's file system."""
        path = self._root.parent / "tmp"
        path.mkdir(exist_ok=True)
        return path

    def _fetch_one(self, ref: ObjectRef) -> bool:
        """Return whether the object was here already."""
        path = self._path(ref)
        is_here = self._is_whole(path, ref)
        with self._lock:
            self.num_hits += is_here
            self.num_misses += not is_here
        if is_here:
            return True
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".pull-")
        os.close(handle)
        part = Path(name)
        self._store.pull_file(ref, part)
        part.replace(path)
        return False

    def _is_whole(self, path: Path, ref: ObjectRef) -> bool:
        try:
            if path.stat().st_size != ref.num_bytes:
                return False
        except FileNotFoundError:
            return False
        return sha256_of_file(path) == ref.sha256

    def _path(self, ref: ObjectRef) -> Path:
        return self._root / ref.sha256[:2] / ref.sha256


def _sum_missing(refs: Sequence[ObjectRef], was_here: Sequence[bool]) -> int:
    return sum(ref.num_bytes for ref, here in zip(refs, was_here, strict=True) if not here)


class Prefetch:
    """Fetches objects in a thread while a block runs; its end waits for what is on its way."""

    def __init__(self, cache: NodeCache, refs: Sequence[ObjectRef]) -> None:
        """Fetch these; what cannot be had is left to the stage that needs it."""
        self.pulled_bytes = 0
        self._cache, self._refs = cache, refs
        self._thread = Thread(target=self._fetch, daemon=True)

    def __enter__(self) -> "Prefetch":
        if self._refs:
            self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if self._refs and error_type is None:
            self._thread.join()

    def _fetch(self) -> None:
        with suppress(AccreteError):
            self.pulled_bytes = self._cache.fetch(self._refs).pulled_bytes
