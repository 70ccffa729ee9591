"""The 1,797 real 8×8 images of handwritten digits inside scikit-learn: no download."""

import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accrete.core.hashing import sha256_of_bytes
from accrete.data.images import Pixels
from accrete.data.sources.base import Counts, Item, Reading, evenly


class DigitsSource:
    """Digits 0-9; grey levels 0..16 become 0..255."""

    def __init__(self) -> None:
        """Load the images (0.6 MB)."""
        table = _table()
        grey_levels = table[:, :-1].reshape(-1, 8, 8)
        self._images: Pixels = np.rint(grey_levels * (255 / 16)).astype(np.uint8)[..., None]
        self._labels = [int(label) for label in table[:, -1]]

    def counts(self) -> Counts:
        """Return the images of each digit."""
        counted = Counter(self._labels)
        return {"train": {str(digit): counted[digit] for digit in range(10)}}

    def reading(self) -> Reading:
        """Return what they are."""
        return Reading(layout="handwritten digits that come with scikit-learn")

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

    def sample(self, most: int) -> Sequence[Item]:
        """Return some images from all over."""
        return evenly(list(self.items()), most)


def _table() -> NDArray[np.float64]:
    """Return 64 grey levels and the label of each image: (N, 65).

    scikit-learn has them as a table in a file. Importing it to read that takes a second, twice in
    each run; where the file is elsewhere in another version, it reads it itself.
    """
    spec = find_spec("sklearn")
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            with gzip.open(path, "rt") as file:
                return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return np.hstack([bunch.data, bunch.target[:, None]])
