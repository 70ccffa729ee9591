"""Files below a local path or an s3:// prefix, behind one small interface."""

import io
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol

from accrete.core.hashing import sha256_of_file
from accrete.core.settings import shown_address
from accrete.core.units import format_path
from accrete.data.images import check_file_size
from accrete.data.sources.base import LeftOut
from accrete.data.sources.junk import junk_reason
from accrete.data.sources.tree import Tree, scan
from accrete.errors import SourceError, StoreError

if TYPE_CHECKING:
    from accrete.store.object_store import ObjectStore

_S3_BUFFER_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10


class Files(Protocol):
    """Named files; a name is relative, with `/` between its parts."""

    root: str
    """Path or address, for errors."""

    def names(self) -> Sequence[str]:
        """Return the names of all files that are the user's matter, sorted."""
        ...

    def folders(self) -> Sequence[str]:
        """Return all folders of such files, empty ones too, sorted."""
        ...

    def left_out(self) -> Sequence[LeftOut]:
        """Return the other files: hidden ones, what systems make, what the user excludes."""
        ...

    def size(self, name: str) -> int:
        """Return a file's bytes."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        ...

    def head(self, name: str) -> bytes:
        """Return the first 64 KiB of a file, more than most images' headers take."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file for seeking and reading."""
        ...

    def tag(self, name: str) -> str:
        """Return something that changes whenever the content does."""
        ...


def open_files(location: str, suffixes: Collection[str], exclude: str | None = None) -> Files:
    """Return the files at a location.

    Args:
        location: a local path or `s3://bucket/prefix`.
        suffixes: of the files that matter most, in lower case, with their dot: one that cannot be
            read is refused; there may be others.
        exclude: patterns of files and folders to leave out, with commas between them.

    Raises:
        SourceError: there is no such path, or nothing below the prefix.
    """
    is_stored = location.startswith("s3://")
    files: Files = (
        S3Files(location, exclude) if is_stored else LocalFiles(location, suffixes, exclude)
    )
    check_exclude(files, exclude)
    return files


def tags(files: Files, names: Sequence[str]) -> list[str]:
    """Return the tags of some files, read in parallel."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(files.tag, names))


@dataclass(slots=True)
class _Sorted:
    """Names, with those set apart that are no matter of the user's."""

    names: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def _sorted_out(names: Iterable[str], exclude: str | None) -> _Sorted:
    patterns = Patterns(exclude)
    listed = list(names)
    found = _Sorted()
    is_cache = any(name.startswith("snapshots/") for name in listed)
    for name in listed:
        reason = junk_reason(name.split("/")) or ("excluded" if name in patterns else None)
        if is_cache and name.startswith(("blobs/", "refs/")):
            reason = "Hugging Face's cache"
        if reason is None:
            found.names.append(name)
        else:
            found.left_out.append(LeftOut(place=name, reason=reason))
    return found


def check_exclude(files: Files, exclude: str | None) -> None:
    """Refuse patterns of which none fits a file: a folder that is written wrong would be read.

    Raises:
        SourceError: names them.
    """
    if exclude and not any(file.place in Patterns(exclude) for file in files.left_out()):
        raise SourceError(
            f"--exclude {exclude!r} fits no file of {files.root}: leave it out, or give names as "
            "they stand below there"
        )


class Patterns:
    """Patterns of names, as users give them: `test/*, *.gif`."""

    def __init__(self, text: str | None) -> None:
        """Split a list with commas."""
        self._patterns = [part.strip().strip("/") for part in (text or "").split(",")]
        self._patterns = [pattern for pattern in self._patterns if pattern]

    def __contains__(self, name: str) -> bool:
        """Return whether a file, or a folder that it lies in, is meant."""
        if not self._patterns:
            return False
        parts = name.split("/")
        paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return any(
            fnmatchcase(path, pattern) or ("/" not in pattern and fnmatchcase(part, pattern))
            for pattern in self._patterns
            for path, part in zip(paths, parts, strict=True)
        )


class LocalFiles:
    """A folder, or a single file."""

    def __init__(
        self, location: str, suffixes: Collection[str], exclude: str | None = None
    ) -> None:
        """List a folder."""
        path, mode, size = _looked_up(location)
        is_file = stat.S_ISREG(mode)
        self.root = str(path.parent) if is_file else location
        if not is_file and not stat.S_ISDIR(mode):
            raise SourceError(f"--data {location} is neither a folder nor a regular file")
        self._base = path.parent if is_file else path
        tree = Tree(sizes={path.name: size}, folders=(), odd={}) if is_file else scan(path)
        self._sizes = tree.sizes
        names = _Sorted(names=[path.name]) if is_file else _sorted_out(tree.sizes, exclude)
        odd = _sorted_out(tree.odd, exclude)
        for name in odd.names:
            # Without an ending a link may have led to a class's folder.
            if PurePosixPath(name).suffix.lower() in (*suffixes, ""):
                raise SourceError(f"{format_path(path / name)} {tree.odd[name]}")
        self._names = names.names
        self._left_out = [*names.left_out, *odd.left_out]
        self._left_out += [LeftOut(place=name, reason="no regular file") for name in odd.names]
        self._folders = [
            name
            for name in tree.folders
            if junk_reason(name.split("/")) is None and name not in Patterns(exclude)
        ]

    def names(self) -> Sequence[str]:
        """Return the names of all files that are the user's matter, sorted."""
        return self._names

    def folders(self) -> Sequence[str]:
        """Return all folders, empty ones too, sorted."""
        return self._folders

    def left_out(self) -> Sequence[LeftOut]:
        """Return the other files."""
        return self._left_out

    def size(self, name: str) -> int:
        """Return a file's bytes."""
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        with self._explained(name):
            check_file_size((self._base / name).stat().st_size, f"{self.root}/{name}")
            return (self._base / name).read_bytes()

    def head(self, name: str) -> bytes:
        """Return the first 64 KiB of a file."""
        with self._explained(name), (self._base / name).open("rb") as file:
            return file.read(_HEAD_BYTES)

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


def _looked_up(location: str) -> tuple[Path, int, int]:
    """Return a local path, and mode and bytes of what is there."""
    try:
        path = Path(location).expanduser()
        found = path.stat()
        return path, found.st_mode, found.st_size
    except FileNotFoundError as error:
        raise SourceError(
            f"--data {shown_address(location)} does not exist: give the folder of the images"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~nobody
        detail = getattr(error, "strerror", None) or error
        raise SourceError(
            f"--data {shown_address(location)[:200]} cannot be read ({detail})"
        ) from error


class S3Files:
    """Objects below a prefix of the object store that the environment names."""

    def __init__(self, location: str, exclude: str | None = None) -> None:
        """List a prefix, or find a single object."""
        self.root = location
        self._sizes: dict[str, int] = {}
        self._tags: dict[str, str] = {}
        self._store = self._listed(location, "")
        parent, _, name = location.rstrip("/").rpartition("/")
        if not self._sizes and parent.count("/") > 1:
            self._store = self._listed(parent, name)
            self.root = parent
        if not self._sizes:
            raise SourceError(f"--data {location} holds no object: check bucket and prefix")
        found = _sorted_out(sorted(self._sizes), exclude)
        self._names, self._left_out = found.names, found.left_out

    def _listed(self, location: str, name: str) -> "ObjectStore":
        """List the objects below a location, or one of them; return the store."""
        from accrete.store.object_store import ObjectStore

        store = ObjectStore.open(location)
        store.check()
        for listed in store.list_objects(name):
            # Consoles make folders of objects whose name ends in a stroke.
            if not listed.key.endswith("/") and name in ("", listed.key):
                self._sizes[listed.key] = listed.num_bytes
                self._tags[listed.key] = f"{listed.etag}/{listed.num_bytes}"
        return store

    def names(self) -> Sequence[str]:
        """Return the names of all objects that are the user's matter, sorted."""
        return self._names

    def folders(self) -> Sequence[str]:
        """Return the prefixes above all objects, sorted; a store has no empty folder."""
        parents = {str(parent) for name in self._names for parent in PurePosixPath(name).parents}
        return sorted(parents - {"."})

    def left_out(self) -> Sequence[LeftOut]:
        """Return the other objects."""
        return self._left_out

    def size(self, name: str) -> int:
        """Return an object's bytes."""
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        check_file_size(self._sizes[name], f"{self.root}/{name}")
        return self._store.read_range(name, 0, self._sizes[name])

    def head(self, name: str) -> bytes:
        """Return the first 64 KiB of an object."""
        return self._store.read_range(name, 0, min(_HEAD_BYTES, self._sizes[name]))

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
