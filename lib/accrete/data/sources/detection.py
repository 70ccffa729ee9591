"""Which kind of source lies at a location, where the user does not say."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from accrete.data.images import image_suffixes
from accrete.data.sources.archives.idx_names import is_idx_name
from accrete.data.sources.files import Files, open_files
from accrete.data.sources.folders.imagefolder import ImageFiles, images_among
from accrete.data.sources.formats import (
    SUFFIXES,
    deciding_tables,
    has_class_folders,
    is_list,
)
from accrete.errors import SourceError

_ENDINGS = {
    "parquet": SUFFIXES["parquet"],
    "arrow": SUFFIXES["arrow"],
    "webdataset": (".tar", ".tar.gz", ".tgz"),
}

_TORCHVISION = {
    "cifar10": ("cifar-10-batches-py/data_batch_1", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python/train", "cifar-100-python.tar.gz"),
    "fashion-mnist": ("FashionMNIST/raw/train-images-idx3-ubyte",),
}
"""What torchvision's roots have; the first without its folder is what the set's own has."""

_READINGS = {
    "imagefolder": "class folders",
    "parquet": "Parquet files",
    "arrow": "Arrow files",
    "webdataset": "tar shards",
    "idx": "files in MNIST's format",
}

_FEW = 10
"""A kind of which there is one file to so many images is something beside them, or the reverse."""


def detect_kind(location: str, exclude: str | None = None) -> str:
    """Return the kind of source at a location, by the names of what lies there.

    Args:
        location: a local path or `s3://bucket/prefix`.
        exclude: patterns of what is left out.

    Raises:
        SourceError: there is nothing that is read, or two kinds; says which options decide.
    """
    files = open_files(location, (), exclude)
    names = files.names()
    known = [kind for kind, signs in _TORCHVISION.items() if _has(names, signs, location)]
    if known:
        return _only({kind: f"torchvision's {kind}" for kind in known}, location)
    counts = {kind: _count(names, ends) for kind, ends in _ENDINGS.items()}
    counts["idx"] = sum(map(is_idx_name, names))
    found = {kind: _READINGS[kind] for kind, count in counts.items() if count}
    num_images = _count(names, tuple(image_suffixes()))
    others = sum(counts.values())
    if not found:
        return _of_images(files, images_among(files), location)
    if num_images > others:
        images = images_among(files)
        if has_class_folders(files, images):
            if num_images > _FEW * others:
                return _of_images(files, images, location)
            found["imagefolder"] = _READINGS["imagefolder"]
    return _only(found, location)


def _of_images(files: Files, images: ImageFiles, location: str) -> str:
    if list(files.names()) == [_last(location)]:
        return "csv" if _count(files.names(), SUFFIXES["csv"]) else "imagefolder"
    tables = deciding_tables(files, images)
    if tables is None:
        return "imagefolder"  # which says what is wrong with it, if anything is
    table = tables.names[0]
    if not has_class_folders(files, images):
        return "csv"
    if is_list(table):
        return "imagefolder"
    found = {"imagefolder": _READINGS["imagefolder"], "csv": f"the table {table}"}
    return _only(found, location)


def _has(names: Sequence[str], signs: Sequence[str], location: str) -> bool:
    """Return whether files that a set's root has lie there, or the set's own folder's."""
    own = PurePosixPath(signs[0])
    is_own = _last(location) == own.parts[-2] and any(n.startswith(own.name) for n in names)
    return is_own or any(name.startswith(sign) for name in names for sign in signs)


def _last(location: str) -> str:
    return location.rstrip("/").rpartition("/")[2]


def _count(names: Sequence[str], ends: tuple[str, ...]) -> int:
    return sum(name.lower().endswith(ends) for name in names)


def _only(found: dict[str, str], location: str) -> str:
    if len(found) > 1:
        ways = " or ".join(f"{what} (--source {kind})" for kind, what in found.items())
        raise SourceError(f"--data {location} can be read in {len(found)} ways: as {ways}")
    return next(iter(found))
