"""CIFAR-10, CIFAR-100 and Fashion-MNIST as torchvision stores them, or as a download.

Their class counts are known, so planning with them loads neither torch nor the images. CIFAR's
files are pickles: torchvision checks the MD5 of each before it opens one, wherever they lie.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_file, sha256_of_json
from accrete.data.images import Pixels
from accrete.data.sources.base import Counts, Item, Reading, evenly
from accrete.data.sources.published._published import StoredSet, is_own_folder, published
from accrete.data.sources.published.torchvision_classes import CLASSES, TEST_IMAGES, TRAIN_IMAGES
from accrete.errors import LabelError, SourceError

_FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "fashion-mnist": "FashionMNIST/raw",
}
_FILES = {
    "cifar10": "batches.meta",
    "cifar100": "meta",
    "fashion-mnist": "train-images-idx3-ubyte",
}
"""By one such a folder is known."""

_TORCHVISION_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion-mnist": "FashionMNIST"}


class TorchvisionSource:
    """One of torchvision's data sets: below a root folder, in its own, or below an s3:// prefix."""

    def __init__(self, config: SourceConfig) -> None:
        """Remember the place; nothing is read yet."""
        self._kind = config.kind
        self._place = config.location or ""
        self._root = Path(self._place).expanduser()
        self._folder = _FOLDERS[self._kind]

    @cached_property
    def _stored(self) -> StoredSet | None:
        """The files, where they are not below a local root; None: they are, or are downloaded."""
        is_local = not self._place.startswith("s3://")
        if is_local and not is_own_folder(self._root, self._folder, _FILES[self._kind]):
            return None
        what = published(self._kind, self._folder, _torchvision_class(self._kind))
        return StoredSet(self._place, what)

    def counts(self) -> Counts:
        """Return the published counts; `items` checks them."""
        names = CLASSES[self._kind]
        return {
            "train": dict.fromkeys(names, TRAIN_IMAGES[self._kind]),
            "test": dict.fromkeys(names, TEST_IMAGES[self._kind]),
        }

    def reading(self) -> Reading:
        """Return what they are."""
        how = "in torchvision's files" if self._kind == "fashion-mnist" else "its files verified"
        return Reading(layout=f"{self._kind} as published, {how}")

    def fingerprint(self) -> str:
        """Return a digest of the files, which are downloaded first where they are not there.

        Raises:
            SourceError: the set is neither there nor to be downloaded.
        """
        if self._stored:
            return sha256_of_json([self._kind, self._stored.tags()])
        folder = self._root / self._folder
        if not folder.is_dir():
            self._open(self._root, "train")
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return sha256_of_json([self._kind, [(path.name, sha256_of_file(path)) for path in files]])

    def items(self) -> Iterator[Item]:
        """Yield training, then test images.

        Raises:
            SourceError: the set is neither there nor to be downloaded, or is damaged.
        """
        with self._stored.fetched() if self._stored else nullcontext(self._root) as root:
            for split in ("train", "test"):
                dataset = self._open(root, split)
                pixels: Pixels = np.asarray(dataset.data)
                pixels = pixels[..., None] if pixels.ndim == 3 else pixels
                labels = self._labels(dataset, split)
                for row, label in enumerate(labels):
                    yield Item(
                        place=f"{self._kind} {split} row {row}",
                        class_name=CLASSES[self._kind][label],
                        split=split,
                        load=partial(pixels.__getitem__, row),
                    )

    def _labels(self, dataset: Any, split: str) -> list[int]:
        """Return the number of each image's class.

        Raises:
            LabelError: one names none.
            SourceError: there are more or fewer than images.
        """
        labels = [int(label) for label in dataset.targets]
        if len(labels) != len(dataset.data):
            raise SourceError(
                f"{self._kind} in {self._place} has {len(labels):,} labels for "
                f"{len(dataset.data):,} images of {split}: put the published files there"
            )
        num_classes = len(CLASSES[self._kind])
        for row, label in enumerate(labels):
            if not 0 <= label < num_classes:
                raise LabelError(
                    f"{self._kind} in {self._place} {split} row {row} has label {label}: it must "
                    f"be 0..{num_classes - 1}; put the published files there"
                )
        return labels

    def sample(self, most: int) -> Sequence[Item]:
        """Return some images from all over."""
        return evenly(list(self.items()), most)

    def _open(self, root: Path, split: str) -> Any:
        make = _torchvision_class(self._kind)
        try:
            dataset = make(root, train=split == "train", download=False)
        except RuntimeError:
            dataset = self._download(make, root, split)
        except Exception as error:  # its readers raise nearly anything on bad bytes
            raise self._damaged(error) from error
        if tuple(dataset.classes) != CLASSES[self._kind]:
            raise SourceError(f"{self._place} holds other classes than {self._kind} has")
        return dataset

    def _damaged(self, error: Exception) -> SourceError:
        detail = str(error).strip().partition("\n")[0] or type(error).__name__
        return SourceError(
            f"{self._kind} below {self._place} cannot be read ({detail}): its files are damaged; "
            "remove them and download the set again"
        )

    def _download(self, make: Any, root: Path, split: str) -> Any:
        """Return a data set that torchvision downloads, or unpacks where its archive is there."""
        try:
            return make(root, train=split == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise SourceError(
                f"{self._kind} is not below {self._place} and cannot be downloaded "
                f"({str(error).splitlines()[0]}): put torchvision's files there"
            ) from error


def _torchvision_class(kind: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, _TORCHVISION_NAMES[kind])
