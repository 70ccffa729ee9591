"""Per-channel mean and standard deviation, exact whatever the order of images."""

import numpy as np
from numpy.typing import NDArray

from accrete.image_format import Normalization
from accrete.images import Pixels, with_channels

_PIXELS_AT_ONCE = 1 << 20
"""Of an image; each takes 48 bytes as numbers."""


class PixelStatistics:
    """Running integer sums over images of one or three channels."""

    def __init__(self) -> None:
        """Start with no image."""
        self._count = 0
        self._sums = np.zeros(3, np.int64)
        self._squares = np.zeros(3, np.int64)

    def add(self, pixels: Pixels) -> None:
        """Count an image (height, width, channels)."""
        rows = max(1, _PIXELS_AT_ONCE // pixels.shape[1])
        for first in range(0, len(pixels), rows):
            self._add(with_channels(pixels[first : first + rows], 3).astype(np.int64))

    def _add(self, values: NDArray[np.int64]) -> None:
        self._count += values.shape[0] * values.shape[1]
        self._sums += values.sum(axis=(0, 1))
        self._squares += np.square(values).sum(axis=(0, 1))

    def normalization(self, channels: int) -> Normalization:
        """Return mean and standard deviation of all images, scaled to 0..1.

        A channel that never changes has deviation 0, which nothing can be divided by: it gets 1.
        """
        mean = self._sums / self._count / 255
        variance = self._squares / self._count / 255**2 - mean**2
        std = np.sqrt(np.maximum(variance, 0))
        std = np.where(std > 1e-6, std, 1.0)
        # Nine digits: beyond them numpy versions may differ, and the digest must not.
        return Normalization(
            mean=tuple(round(float(m), 9) for m in mean[:channels]),
            std=tuple(round(float(s), 9) for s in std[:channels]),
        )
