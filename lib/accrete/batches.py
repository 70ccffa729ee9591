"""Training batches: which images, from where, augmented how.

Shape suffixes: N images, B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from itertools import count

from torch import Tensor

from accrete.augmentation import Augmentation, Augmenter, normalize
from accrete.image_format import Normalization
from accrete.image_source import ImageSource
from accrete.order import SampleOrder


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
        """
        self.num_images = images.num_images
        self.seed = seed
        self._images = images
        self._labels_N = labels_N.to(images.index_device)
        self._order = SampleOrder(
            images.num_images, batch_size, seed=seed, stage=stage, device=images.index_device
        )
        self._augmenter = Augmenter(augmentation, seed=seed, batch_size=batch_size)
        self._normalization = normalization
        part = batch_size // num_processes
        self._places = slice(rank * part, (rank + 1) * part)

    def starting_at(self, position: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images float32 (B, C, H, W) and labels (B,) on the device, batch after batch.

        Args:
            position: number of the first batch within the stage, from 0.
            step: its global step, seed of the augmentation.
        """
        sources = self._images.batches(self._indices(number) for number in count(position))
        for number, images_BHWC in enumerate(sources):
            indices_B = self._indices(position + number)
            labels_B = self._labels_N[indices_B].to(images_BHWC.device, non_blocking=True)
            images = self._augmented(images_BHWC, indices_B, position + number, step + number)
            yield images, labels_B

    def _indices(self, position: int) -> Tensor:
        return self._order.indices(position)[self._places]

    def _augmented(
        self, images_BHWC: Tensor, indices_B: Tensor, position: int, step: int
    ) -> Tensor:
        augmenter, places = self._augmenter, self._places
        cut = augmenter.cut(images_BHWC, step, places)
        if augmenter.augmentation.flip == "random":
            flips_B = augmenter.random_flips(step, places, cut.device)
            cut = augmenter.mirrored(cut, flips_B)
        elif augmenter.augmentation.flip == "alternating":
            epochs_B = self._order.epochs(position)[places]
            flips_B = augmenter.alternating_flips(indices_B, epochs_B)
            cut = augmenter.mirrored(cut, flips_B.to(cut.device))
        return augmenter.scaled_down(normalize(cut, self._normalization))
