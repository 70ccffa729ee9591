"""Files below a local path or an s3:// prefix, behind one small interface."""

import io
import stat
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from accrete.core.hashing import sha256_of_file
from accrete.data.images import check_file_size
from accrete.data.sources.tree import scan
from accrete.errors import SourceError, StoreError

_S3_BUFFER_BYTES = 1 << 20


class Files(Protocol):
    """Named files; a name is relative, with `/` between its parts."""

    root: str
    """Path or address, for errors."""

    def names(self) -> Sequence[str]:
        """Return all names, sorted."""
        ...

    def folders(self) -> Sequence[str]:
        """Return all folders, empty ones too, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file for seeking and reading."""
        ...

    def tag(self, name: str) -> str:
        """Return something that changes whenever the content does."""
        ...


def open_files(location: str, suffixes: Collection[str]) -> Files:
    """Return the files at a location.

    Args:
        location: a local path or `s3://bucket/prefix`.
        suffixes: of the files that matter, in lower case, with their dot; there may be others.

    Raises:
        SourceError: there is no such path, or nothing below the prefix.
    """
    if location.startswith("s3://"):
        return S3Files(location)
    return LocalFiles(location, suffixes)


def tags(files: Files, names: Sequence[str]) -> list[str]:
    """Return the tags of some files, read in parallel."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(files.tag, names))


class LocalFiles:
    """A folder, or a single file."""

    def __init__(self, location: str, suffixes: Collection[str]) -> None:
        """List a folder."""
        self.root = location
        path, mode = _looked_up(location)
        is_file = stat.S_ISREG(mode)
        if not is_file and not stat.S_ISDIR(mode):
            raise SourceError(f"--data {location} is neither a folder nor a regular file")
        self._base = path.parent if is_file else path
        self._tree = None if is_file else scan(path, suffixes)
        self._names = (path.name,) if self._tree is None else self._tree.names

    def names(self) -> Sequence[str]:
        """Return all names, sorted."""
        return self._names

    def folders(self) -> Sequence[str]:
        """Return all folders, empty ones too, sorted."""
        return () if self._tree is None else self._tree.folders

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        with self._explained(name):
            check_file_size((self._base / name).stat().st_size, f"{self.root}/{name}")
            return (self._base / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        """Open a file."""
        with self._explained(name):
            return (self._base / name).open("rb")

    def tag(self, name: str) -> str:
        """Return the SHA-256 of the content."""
        with self._explained(name):
            return sha256_of_file(self._base / name)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(
                f"{self.root}/{name} cannot be read ({error.strerror}): mend or remove it"
            ) from error


def _looked_up(location: str) -> tuple[Path, int]:
    """Return a local path, and the mode of what is there."""
    try:
        path = Path(location).expanduser()
        return path, path.stat().st_mode
    except FileNotFoundError as error:
        raise SourceError(
            f"--data {location} does not exist: give the folder of the images"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~nobody
        detail = getattr(error, "strerror", None) or error
        raise SourceError(f"--data {location[:200]} cannot be read ({detail})") from error


class S3Files:
    """Objects below a prefix of the object store that the environment names."""

    def __init__(self, location: str) -> None:
        """List a prefix."""
        from accrete.store.object_store import ObjectStore

        self.root = location
        self._store = ObjectStore.open(location)
        self._store.check()
        self._sizes: dict[str, int] = {}
        self._tags: dict[str, str] = {}
        for listed in self._store.list_objects(""):
            self._sizes[listed.key] = listed.num_bytes
            self._tags[listed.key] = f"{listed.etag}/{listed.num_bytes}"
        if not self._sizes:
            raise SourceError(f"--data {location} holds no object: check bucket and prefix")

    def names(self) -> Sequence[str]:
        """Return all names, sorted."""
        return sorted(self._sizes)

    def folders(self) -> Sequence[str]:
        """Return the prefixes above all objects, sorted; a store has no empty folder."""
        parents = {str(parent) for name in self._sizes for parent in PurePosixPath(name).parents}
        return sorted(parents - {"."})

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        check_file_size(self._sizes[name], f"{self.root}/{name}")
        return self._store.read_range(name, 0, self._sizes[name])

    def open(self, name: str) -> IO[bytes]:
        """Open an object; only what is read is transferred."""
        raw = _S3Reader(self._store, name, self._sizes[name])
        return io.BufferedReader(raw, _S3_BUFFER_BYTES)

    def tag(self, name: str) -> str:
        """Return the store's own digest of the content (ETag) and its size."""
        return self._tags[name]


class _S3Reader(io.RawIOBase):
    """Ranged reads of one object as a file."""

    def __init__(self, store: Any, name: str, size: int) -> None:
        self._store, self._name, self._size, self._position = store, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        data = self._store.read_range(self._name, self._position, length)
        if len(data) != length:
            raise StoreError(f"{self._store.uri(self._name)} ended early: it is being changed")
        buffer[:length] = data
        self._position += length
        return length
