"""Files of torchvision's data sets that lie elsewhere than below a local root folder.

They are in an object store, or the set's own folder was given. They are brought to a private folder
as torchvision wants them, which then checks and opens them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from accrete.data.sources.files import Files, open_files
from accrete.data.sources.ranges import opened
from accrete.errors import DiskFullError, SourceError

_MAX_FILE_BYTES = 1 << 30
"""The largest that is published has 170 MB."""

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a data set is made of."""

    kind: str
    """As `--source` has it."""
    folder: str
    """Below the root, with `/` between its parts."""
    files: tuple[tuple[str, str | None], ...]
    """In that folder: name, and MD5 where torchvision knows it."""
    archives: tuple[tuple[str, str | None], ...]
    """As published: name below the root, and MD5; None: a file that is gzip, and no pickle."""


def published(kind: str, folder: str, dataset: Any) -> Published:
    """Return what a class of torchvision's says of its files.

    Args:
        kind: as `--source` has it.
        folder: below the root.
        dataset: CIFAR10 or one that is made like it, or FashionMNIST.
    """
    files: list[tuple[str, str | None]] = []
    archives: list[tuple[str, str | None]] = []
    if hasattr(dataset, "train_list"):
        meta = (dataset.meta["filename"], dataset.meta["md5"])
        files = [(name, md5) for name, md5 in (*dataset.train_list, *dataset.test_list, meta)]
        archives = [(dataset.filename, dataset.tgz_md5)]
    else:
        files = [(name.removesuffix(".gz"), None) for name, _ in dataset.resources]
        archives = [(f"{folder}/{name}", None) for name, _ in dataset.resources]
    return Published(kind=kind, folder=folder, files=tuple(files), archives=tuple(archives))


def is_own_folder(root: Path, folder: str, file_name: str) -> bool:
    """Return whether a path is a set's own folder, or one above it that is no root.

    Args:
        root: the path that was given.
        folder: the set's below a root: `FashionMNIST/raw`.
        file_name: of a file in that folder, which may be packed.
    """
    parts = folder.split("/")
    inner = [root.joinpath(*parts[depth:]) for depth in range(1, 1 + len(parts))]
    files = [path / name for path in inner for name in (file_name, f"{file_name}.gz")]
    return not (root / folder).is_dir() and any(path.is_file() for path in files)


class StoredSet:
    """A data set's files below an s3:// prefix, or in its own local folder."""

    def __init__(self, location: str, what: Published) -> None:
        """List the prefix or folder.

        Raises:
            SourceError: nothing is there, or a file is missing.
        """
        self._what = what
        self._files: Files = open_files(location, ("", ".gz", ".meta"))
        self._place = location.rstrip("/")
        self.names, self.is_packed = self._find()

    def _find(self) -> tuple[dict[str, str], bool]:
        """Return the files by their path below torchvision's root, and whether they are packed."""
        there = set(self._files.names())
        unpacked = [f"{self._what.folder}/{name}" for name, _ in self._what.files]
        packed = [name for name, _ in self._what.archives]
        tries = [
            (_moved(names, depth), names) for names in (unpacked, packed) for depth in range(3)
        ]
        best, wanted = max(tries, key=lambda pair: len(there.intersection(pair[0])))
        missing = [name for name in best if name not in there]
        if missing:
            raise SourceError(
                f"{self._place}/{missing[0]} is missing: put the files of {self._what.kind} there "
                f"as torchvision stores them, or {packed[0]} as it is published"
            )
        return dict(zip(wanted, best, strict=True)), wanted is packed

    def tags(self) -> list[list[str]]:
        """Return names and tags of the files, sorted."""
        return [[name, self._files.tag(at)] for name, at in sorted(self.names.items())]

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """Yield a root folder with the files, for the time of the block.

        Raises:
            SourceError: a file is not the one that is published.
            DiskFullError: they do not fit the temporary folder's disk.
        """
        with tempfile.TemporaryDirectory(prefix="accrete-") as made:
            for name, at in self.names.items():
                path = Path(made, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(at, path)
            self._check(Path(made))
            yield Path(made)

    def _fetch(self, name: str, path: Path) -> None:
        """Bring a file, unpacked where it is gzip; a tar archive is for torchvision to unpack."""
        is_gzip = path.suffix == ".gz" and not path.name.endswith(".tar.gz")
        target = path.with_suffix("") if is_gzip else path
        with target.open("wb") as file:
            if is_gzip:
                with opened(self._files, name) as (unpacked, _):
                    self._copy(unpacked, file, name)
            else:
                with self._files.open(name) as stored:
                    self._copy(stored, file, name)

    def _copy(self, stored: IO[bytes], file: IO[bytes], name: str) -> None:
        num_left = _MAX_FILE_BYTES
        while data := stored.read(_COPY_BYTES):
            num_left -= len(data)
            if num_left < 0:
                raise SourceError(
                    f"{self._place}/{name} is over {_MAX_FILE_BYTES:,} bytes, which no file of "
                    f"{self._what.kind} is: put the published one there"
                )
            self._write(file, data)

    def _write(self, file: IO[bytes], data: bytes) -> None:
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            raise DiskFullError(
                f"{self._what.kind} cannot be fetched to {tempfile.gettempdir()} "
                f"({error.strerror}): set TMPDIR to a folder on a larger disk"
            ) from error

    def _check(self, root: Path) -> None:
        """Refuse other files than the published ones; torchvision would download those instead."""
        from torchvision.datasets.utils import check_integrity

        folder = self._what.folder
        files = [(f"{folder}/{name}", md5) for name, md5 in self._what.files]
        for name, md5 in self._what.archives if self.is_packed else files:
            if md5 is not None and not check_integrity(root / name, md5):
                raise SourceError(
                    f"{self._place}/{self.names[name]} is not the file that is published (its MD5 "
                    "differs): put that one there"
                )


def _moved(names: Sequence[str], depth: int) -> list[str]:
    """Return paths without so many of the folders that they begin with."""
    return ["/".join(name.split("/")[min(depth, name.count("/")) :]) for name in names]
