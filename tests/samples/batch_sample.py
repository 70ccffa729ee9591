"""Small random images, training batches of them, and the pixels that come back."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accrete.config.image_format import Normalization
from accrete.training.augmentation import Augmentation
from accrete.training.batches import TrainingBatches
from accrete.training.image_source import ImageSource, ResidentImages

PLAIN = Augmentation(flip="none", crop_padding=0)
AS_IT_IS = Normalization(mean=(0.0,) * 3, std=(1 / 255,) * 3)


def random_images(num_images: int, channels: int = 3, size: tuple[int, int] = (6, 5)) -> Tensor:
    """Return uint8 images (num_images, height, width, channels)."""
    generator = torch.Generator().manual_seed(0)
    shape = (num_images, *size, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


class ArrayReader:
    """A reader of images that lie in an array."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.num_images, self.image_bytes = len(pixels), pixels[0].nbytes
        self._pixels = pixels

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._pixels[indices]


def make_batches(images: Tensor | ImageSource, **options: Any) -> TrainingBatches:
    """Return batches whose labels are the images' positions."""
    arguments: dict[str, Any] = {
        "batch_size": 4,
        "seed": 0,
        "stage": 1,
        "normalization": AS_IT_IS,
        "augmentation": PLAIN,
    }
    source = ResidentImages(images) if isinstance(images, Tensor) else images
    labels_N = torch.arange(source.num_images)
    return TrainingBatches(source, labels_N, **arguments | options)


def batch_at(batches: TrainingBatches, position: int, step: int) -> tuple[Tensor, Tensor]:
    """Return one batch's images (B, C, H, W) and labels (B,)."""
    return next(batches.starting_at(position, step))


def pixels_of(images_NCHW: Tensor) -> np.ndarray[Any, Any]:
    """Return the uint8 pixels (N, H, W, C) of images that AS_IT_IS scaled."""
    values = images_NCHW.permute(0, 2, 3, 1).numpy()
    assert np.abs(values - values.round()).max() < 1e-3
    return values.round().astype(np.uint8)
