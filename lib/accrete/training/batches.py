"""Training batches: which images, from where, augmented how.

Shape suffixes: N images, B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from accrete.config.image_format import Normalization
from accrete.training.augmentation import Augmentation, Augmenter, normalize
from accrete.training.image_source import ImageSource
from accrete.training.order import Replay, SampleOrder

_GROUP_BYTES = 32 << 20
"""Of the float32 images that a GPU makes at once, by many small kernels, which cost their launches
and little else. A CPU is quicker with what its cache holds."""


class TrainingBatches:
    """Batches of one stage's training images."""

    def __init__(
        self,
        images: ImageSource,
        labels_N: Tensor,
        *,
        batch_size: int,
        seed: int,
        stage: int,
        normalization: Normalization,
        augmentation: Augmentation,
        rank: int = 0,
        num_processes: int = 1,
        replay: Replay | None = None,
        group_bytes: int | None = None,
    ) -> None:
        """Describe a stage's batches.

        Args:
            images: the stage's.
            labels_N: int64.
            batch_size: images per batch, of all processes together.
            seed: of order and augmentation.
            stage: index of the stage.
            normalization: of the data set.
            augmentation: what to do to each image.
            rank: which part of every batch this process takes.
            num_processes: equal parts that a batch has.
            replay: of old classes; None: all of their images.
            group_bytes: how much of float32 images is made at once; None: some on a GPU, where the
                images lie there, else a batch. Changes no batch.
        """
        self.num_images = images.num_images
        self.seed = seed
        self._images = images
        self._labels_N = labels_N.to(images.index_device)
        self._order = SampleOrder(
            images.num_images,
            batch_size,
            seed=seed,
            stage=stage,
            device=images.index_device,
            replay=replay,
        )
        self._augmenter = Augmenter(augmentation, seed=seed, batch_size=batch_size)
        self._normalization = normalization
        self._part = batch_size // num_processes
        self._places = slice(rank * self._part, (rank + 1) * self._part)
        if group_bytes is None:
            group_bytes = _GROUP_BYTES if images.index_device.type == "cuda" else 0
        self._group_size = max(1, group_bytes // (4 * self._part * images.image_bytes))

    def starting_at(self, position: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images float32 (B, C, H, W) and labels (B,) on the device, batch after batch.

        Args:
            position: number of the first batch within the stage, from 0.
            step: its global step, seed of the augmentation.
        """
        size = self._group_size
        sources = self._images.batches(self._indices(n, size) for n in count(position, size))
        for images_BHWC, number in zip(sources, count(0, size), strict=False):
            indices_B = self._indices(position + number, size)
            labels_B = self._labels_N[indices_B].to(images_BHWC.device, non_blocking=True)
            steps = range(step + number, step + number + size)
            images_BCHW = self._augmented(images_BHWC, indices_B, position + number, steps)
            image_parts, label_parts = (torch.split(t, self._part) for t in (images_BCHW, labels_B))
            yield from zip(image_parts, label_parts, strict=True)

    def _indices(self, position: int, num_batches: int) -> Tensor:
        positions = range(position, position + num_batches)
        return _joined([self._order.indices(p)[self._places] for p in positions])

    def _passes(self, position: int, num_batches: int) -> Tensor:
        positions = range(position, position + num_batches)
        return _joined([self._order.passes(p)[self._places] for p in positions])

    def _augmented(
        self, images_BHWC: Tensor, indices_B: Tensor, position: int, steps: range
    ) -> Tensor:
        augmenter = self._augmenter
        draws = augmenter.draws(steps, self._places, images_BHWC.device)
        cut = augmenter.cut(images_BHWC, draws)
        if augmenter.augmentation.flip == "random":
            cut = augmenter.mirrored(cut, augmenter.random_flips(draws))
        elif augmenter.augmentation.flip == "alternating":
            passes_B = self._passes(position, len(steps))
            flips_B = augmenter.alternating_flips(indices_B, passes_B)
            cut = augmenter.mirrored(cut, flips_B.to(cut.device))
        return augmenter.scaled_down(normalize(cut, self._normalization))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
