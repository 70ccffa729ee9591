"""The 1,797 real 8×8 images of handwritten digits inside scikit-learn: no download."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from accrete.digest import sha256_of_bytes
from accrete.images import Pixels
from accrete.sources.base import Counts, Item


class DigitsSource:
    """Digits 0-9; grey levels 0..16 become 0..255."""

    def __init__(self) -> None:
        """Load the images (0.6 MB)."""
        from sklearn.datasets import load_digits

        bunch: Any = load_digits()
        self._images: Pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        self._labels = [int(label) for label in bunch.target]

    def counts(self) -> Counts:
        """Return the images of each digit."""
        counted = Counter(self._labels)
        return {"train": {str(digit): counted[digit] for digit in range(10)}}

    def fingerprint(self) -> str:
        """Return a digest of pixels and labels."""
        return sha256_of_bytes(self._images.tobytes() + bytes(self._labels))

    def items(self) -> Iterator[Item]:
        """Yield the images in scikit-learn's order."""
        for row, label in enumerate(self._labels):
            yield Item(
                place=f"digits row {row}",
                class_name=str(label),
                split="train",
                load=partial(self._images.__getitem__, row),
            )
