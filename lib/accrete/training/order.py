"""The order in which a stage sees its images: a pure function of (seed, stage, epoch).

Epochs follow each other without a gap: batch k takes positions k·B to (k+1)·B of the endless
sequence of permutations, so that every batch is full and every image comes once an epoch. A
position is all that a resumed stage needs, and nothing here depends on where the images lie.

Shape suffixes: N images, B batch.
"""

import torch
from torch import Tensor

from accrete.core.hashing import derive_seed


def epoch_order(num_images: int, *, seed: int, stage: int, epoch: int) -> Tensor:
    """Return the permutation (num_images,) int64 of an epoch."""
    generator = torch.Generator().manual_seed(derive_seed("order", seed, stage, epoch))
    return torch.randperm(num_images, generator=generator)


class SampleOrder:
    """Which images each batch of a stage takes."""

    def __init__(
        self, num_images: int, batch_size: int, *, seed: int, stage: int, device: torch.device
    ) -> None:
        """Describe a stage's order.

        Args:
            num_images: images of the stage, at least 1.
            batch_size: images in every batch, of all processes together.
            seed: of the run.
            stage: index of the stage.
            device: where the indices are wanted.
        """
        self.num_images, self.batch_size = num_images, batch_size
        self._seed, self._stage, self._device = seed, stage, device
        self._orders: dict[int, Tensor] = {}

    def indices(self, position: int) -> Tensor:
        """Return the images (B,) int64 of a batch, the stage's batches counted from 0."""
        start = position * self.batch_size
        end = start + self.batch_size
        parts: list[Tensor] = []
        while start < end:
            epoch, offset = divmod(start, self.num_images)
            parts.append(self._order(epoch)[offset : offset + end - start])
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def epochs(self, position: int) -> Tensor:
        """Return the epoch (B,) int64, from 0, that each image of a batch belongs to."""
        start = position * self.batch_size
        places = torch.arange(start, start + self.batch_size, device=self._device)
        return places.div(self.num_images, rounding_mode="floor")

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            order = epoch_order(self.num_images, seed=self._seed, stage=self._stage, epoch=epoch)
            recent = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders = recent | {epoch: order.to(self._device)}
        return self._orders[epoch]
