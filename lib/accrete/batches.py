"""Training batches: images resident on the device, ordered and augmented there.

Sample order is a pure function of (seed, stage, epoch), augmentation of (seed, step): a position
is all that a resumed stage needs. Epochs follow each other without a gap: batch k takes positions
k·B to (k+1)·B of the endless sequence of permutations, so that every batch is full and every image
comes once an epoch.

Shape suffixes: N images, B batch, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from accrete.manifests import Normalization
from accrete.seeds import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What happens to a training image."""

    flip: bool
    """Mirror left-right with probability 1/2."""
    crop_padding: int
    """Zero pixels around the image before a random crop of its own size; 0: no crop."""


def normalize(images_NCHW: Tensor, normalization: Normalization) -> Tensor:
    """Return uint8 images as float32 in channels_last, each channel (x/255 - mean) / std."""
    device = images_NCHW.device
    mean = torch.tensor(normalization.mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(normalization.std, device=device).view(1, -1, 1, 1)
    images = images_NCHW.to(torch.float32, memory_format=torch.channels_last)
    return images.sub_(mean * 255).div_(std * 255)


def epoch_order(num_images: int, *, seed: int, stage: int, epoch: int) -> Tensor:
    """Return the permutation (num_images,) int64 of an epoch."""
    generator = torch.Generator().manual_seed(derive_seed("order", seed, stage, epoch))
    return torch.randperm(num_images, generator=generator)


class TrainingBatches:
    """Batches of one stage's training images."""

    def __init__(
        self,
        images_NHWC: Tensor,
        labels_N: Tensor,
        *,
        batch_size: int,
        seed: int,
        stage: int,
        normalization: Normalization,
        augmentation: Augmentation,
    ) -> None:
        """Keep the images on their device, padded for cropping.

        Args:
            images_NHWC: uint8 on the training device.
            labels_N: int64 on the same device.
            batch_size: images per batch.
            seed: of order and augmentation.
            stage: index of the stage.
            normalization: of the data set.
            augmentation: what to do to each image.
        """
        self.num_images, self._height, self._width, _ = images_NHWC.shape
        self._labels_N = labels_N
        self._batch_size = batch_size
        self.seed, self._stage = seed, stage
        self._normalization = normalization
        self._augmentation = augmentation
        pad = augmentation.crop_padding
        padded = functional.pad(images_NHWC, (0, 0, pad, pad, pad, pad))
        # Every crop of every image as a view (N, offset y, offset x, C, H, W); copies nothing.
        self._crops = padded.unfold(1, self._height, 1).unfold(2, self._width, 1)
        self._orders: dict[int, Tensor] = {}

    def batch(self, position: int, step: int) -> tuple[Tensor, Tensor]:
        """Return normalized, augmented images (B, C, H, W) and labels (B,).

        Args:
            position: number of the batch within the stage, from 0.
            step: global step, seed of the augmentation.
        """
        index_B = self._indices(position)
        generator = torch.Generator().manual_seed(derive_seed("augment", self.seed, step))
        images = self._cropped(index_B, generator)
        if self._augmentation.flip:
            flips_B = torch.rand(len(index_B), generator=generator) < 0.5
            mask = flips_B.to(images.device).view(-1, 1, 1, 1)
            images = torch.where(mask, images.flip(3), images)
        return normalize(images, self._normalization), self._labels_N[index_B]

    def _indices(self, position: int) -> Tensor:
        """Return the images (B,) of a batch: a window of the endless sequence of epochs."""
        start = position * self._batch_size
        parts: list[Tensor] = []
        missing = self._batch_size
        while missing > 0:
            epoch, offset = divmod(start + self._batch_size - missing, self.num_images)
            parts.append(self._order(epoch)[offset : offset + missing])
            missing -= len(parts[-1])
        return torch.cat(parts)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            order = epoch_order(self.num_images, seed=self.seed, stage=self._stage, epoch=epoch)
            recent = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders = recent | {epoch: order.to(self._labels_N.device)}
        return self._orders[epoch]

    def _cropped(self, index_B: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 images (B, C, H, W), each cut out at an offset of its own."""
        pad = self._augmentation.crop_padding
        if pad == 0:
            return self._crops[index_B, 0, 0]
        offsets = torch.randint(2 * pad + 1, (2, len(index_B)), generator=generator)
        y_B, x_B = offsets.to(index_B.device)
        return self._crops[index_B, y_B, x_B]
