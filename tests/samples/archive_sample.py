"""Small archives: WebDataset's shards and files in MNIST's format; on disk and in a store."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from source_sample import png

from accrete.config.run import SourceConfig
from accrete.data.sources.opening import Source, open_source
from accrete.store.object_store import ObjectStore

Members = list[tuple[str, bytes]]
"""Of an archive: name and content."""


def tar_of(members: Sequence[tuple[str, bytes]], mode: str = "w") -> bytes:
    """Return an archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write_shard(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> None:
    """Write an archive of files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_of(members, mode))


def numbered(labels: Sequence[Any], first: int = 0) -> Members:
    """Return members of samples with a .cls; each image's level is its position."""
    return [
        member
        for number, label in enumerate(labels, start=first)
        for member in (
            (f"s{number:04}.png", png(number)),
            (f"s{number:04}.cls", str(label).encode()),
        )
    ]


def linked(links: Sequence[tuple[str, str, bytes]], members: Members) -> bytes:
    """Return an archive whose links, (name, target, kind), follow its files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    return buffer.getvalue()


def open_shards(location: Path | str, **options: Any) -> Source:
    """Open a folder of shards."""
    return open_source(SourceConfig(kind="webdataset", location=str(location), **options))


def idx_of(values: NDArray[Any], kind: int = 8) -> bytes:
    """Return an array in MNIST's format."""
    header = bytes((0, 0, kind, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    return header + values.astype(np.uint8).tobytes()


def write_idx_pair(
    folder: Path, split: str, labels: Sequence[int], *, packed: bool = False, side: int = 2
) -> None:
    """Write images and labels of a split; each image's level is its position."""
    folder.mkdir(parents=True, exist_ok=True)
    levels = np.arange(len(labels), dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None], (len(labels), side, side))
    for name, values in (("images-idx3", images), ("labels-idx1", np.array(labels))):
        data = idx_of(values)
        suffix = "ubyte.gz" if packed else "ubyte"
        data = gzip.compress(data) if packed else data
        (folder / f"{split}-{name}-{suffix}").write_bytes(data)


def open_idx(location: Path | str, **options: Any) -> Source:
    """Open a folder of files in MNIST's format."""
    return open_source(SourceConfig(kind="idx", location=str(location), **options))


def named_store(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Return a store that the environment names from now on."""
    for name, value in store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    return store


def put_files(store: ObjectStore, folder: Path, prefix: str) -> str:
    """Store a folder's files; return the address of the prefix."""
    for path in folder.rglob("*"):
        if path.is_file():
            store.upload(f"{prefix}/{path.relative_to(folder).as_posix()}", path)
    return store.uri(prefix)
