"""CIFAR-10, CIFAR-100 and Fashion-MNIST as torchvision stores them: an existing root or a download.

Their class counts are known, so planning with them loads neither torch nor the images. CIFAR's
files are pickles: torchvision checks the MD5 of each before it opens one.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_file, sha256_of_json
from accrete.data.images import Pixels
from accrete.data.sources.base import Counts, Item
from accrete.data.sources.torchvision_classes import CLASSES, TEST_IMAGES, TRAIN_IMAGES
from accrete.errors import SourceError

_FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "fashion-mnist": "FashionMNIST/raw",
}
_TORCHVISION_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion-mnist": "FashionMNIST"}


class TorchvisionSource:
    """One of torchvision's data sets below a root folder."""

    def __init__(self, config: SourceConfig) -> None:
        """Remember the root; nothing is read yet."""
        self._kind = config.kind
        self._root = Path(config.location or "").expanduser()

    def counts(self) -> Counts:
        """Return the published counts; `items` checks them."""
        names = CLASSES[self._kind]
        return {
            "train": dict.fromkeys(names, TRAIN_IMAGES[self._kind]),
            "test": dict.fromkeys(names, TEST_IMAGES[self._kind]),
        }

    def fingerprint(self) -> str:
        """Return a digest of the files, which are downloaded first where they are not there.

        Raises:
            SourceError: the set is neither there nor to be downloaded.
        """
        folder = self._root / _FOLDERS[self._kind]
        if not folder.is_dir():
            self._open("train")
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return sha256_of_json([self._kind, [(path.name, sha256_of_file(path)) for path in files]])

    def items(self) -> Iterator[Item]:
        """Yield training, then test images.

        Raises:
            SourceError: the set is neither there nor to be downloaded.
        """
        for split in ("train", "test"):
            dataset = self._open(split)
            pixels: Pixels = np.asarray(dataset.data)
            pixels = pixels[..., None] if pixels.ndim == 3 else pixels
            for row, label in enumerate(dataset.targets):
                yield Item(
                    place=f"{self._kind} {split} row {row}",
                    class_name=CLASSES[self._kind][int(label)],
                    split=split,
                    load=partial(pixels.__getitem__, row),
                )

    def _open(self, split: str) -> Any:
        from torchvision import datasets

        make = getattr(datasets, _TORCHVISION_NAMES[self._kind])
        try:
            dataset = make(self._root, train=split == "train", download=False)
        except RuntimeError:
            dataset = self._download(make, split)
        except Exception as error:  # its readers raise nearly anything on bad bytes
            raise self._damaged(error) from error
        if tuple(dataset.classes) != CLASSES[self._kind]:
            raise SourceError(f"{self._root} holds other classes than {self._kind} has")
        return dataset

    def _damaged(self, error: Exception) -> SourceError:
        detail = str(error).strip().partition("\n")[0] or type(error).__name__
        return SourceError(
            f"{self._kind} below {self._root} cannot be read ({detail}): its files are damaged; "
            "remove them and download the set again"
        )

    def _download(self, make: Any, split: str) -> Any:
        try:
            return make(self._root, train=split == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise SourceError(
                f"{self._kind} is not below {self._root} and cannot be downloaded "
                f"({str(error).splitlines()[0]}): put torchvision's files there"
            ) from error
