"""The order in which a stage sees its images: a pure function of (seed, stage, epoch).

Epochs follow each other without a gap: batch k takes positions k·B to (k+1)·B of the endless
sequence of permutations, so that every batch is full and every image comes once an epoch. A
position is all that a resumed stage needs, and nothing here depends on where the images lie.

Where old classes are replayed in part, an epoch has every new image once and a share of the old
ones, which take turns: an old image comes again when all others have come.

Shape suffixes: N images, B batch, E images of an epoch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from accrete.core.hashing import derive_seed


def epoch_order(num_images: int, *, seed: int, stage: int, epoch: int) -> Tensor:
    """Return the permutation (num_images,) int64 of an epoch."""
    generator = torch.Generator().manual_seed(derive_seed("order", seed, stage, epoch))
    return torch.randperm(num_images, generator=generator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which of a stage's images are old, and how many of them an epoch has."""

    num_old_images: int
    """The first ones in label order."""
    share: float
    """Of them in each epoch, 0 to 1."""

    @property
    def num_replayed(self) -> int:
        """Old images of an epoch; at least one where there is a share."""
        return max(round(self.share * self.num_old_images), min(1, self.num_old_images))


@dataclass(frozen=True, slots=True)
class _Epoch:
    indices_E: Tensor
    passes_E: Tensor


class SampleOrder:
    """Which images each batch of a stage takes."""

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        *,
        seed: int,
        stage: int,
        device: torch.device,
        replay: Replay | None = None,
    ) -> None:
        """Describe a stage's order.

        Args:
            num_images: images of the stage, at least 1.
            batch_size: images in every batch, of all processes together.
            seed: of the run.
            stage: index of the stage.
            device: where the indices are wanted.
            replay: of old classes; None, or of all their images: all images are alike.
        """
        self.num_images, self.batch_size = num_images, batch_size
        self._seed, self._stage, self._device = seed, stage, device
        self._num_old = self._num_replayed = 0
        if replay is not None and replay.share < 1:
            self._num_old = replay.num_old_images
            self._num_replayed = replay.num_replayed if replay.share else 0
        self._num_new = num_images - self._num_old
        self.epoch_length = self._num_replayed + self._num_new
        """Images of an epoch."""
        self._epochs: dict[int, _Epoch] = {}

    def indices(self, position: int) -> Tensor:
        """Return the images (B,) int64 of a batch, the stage's batches counted from 0."""
        return self._joined([epoch.indices_E[some] for epoch, some in self._pieces(position)])

    def passes(self, position: int) -> Tensor:
        """Return how often (B,) int64 each image of a batch has come before in the stage."""
        return self._joined([epoch.passes_E[some] for epoch, some in self._pieces(position)])

    def _pieces(self, position: int) -> list[tuple[_Epoch, slice]]:
        """Return the parts of epochs that make a batch."""
        start = position * self.batch_size
        end = start + self.batch_size
        pieces: list[tuple[_Epoch, slice]] = []
        while start < end:
            number, offset = divmod(start, self.epoch_length)
            taken = min(end - start, self.epoch_length - offset)
            pieces.append((self._epoch(number), slice(offset, offset + taken)))
            start += taken
        return pieces

    @staticmethod
    def _joined(parts: list[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            recent = {n: e for n, e in self._epochs.items() if n == number - 1}
            self._epochs = recent | {number: self._made(number)}
        return self._epochs[number]

    def _made(self, number: int) -> _Epoch:
        """Return an epoch: a permutation of its images, with the pass of each."""
        order = epoch_order(self.epoch_length, seed=self._seed, stage=self._stage, epoch=number)
        if not self._num_old:
            passes = torch.full_like(order, number)
            return _Epoch(order.to(self._device), passes.to(self._device))
        new = torch.arange(self._num_old, self.num_images)
        old, old_passes = self._replayed(number)
        indices = torch.cat([old, new])[order]
        passes = torch.cat([old_passes, torch.full_like(new, number)])[order]
        return _Epoch(indices.to(self._device), passes.to(self._device))

    def _replayed(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the old images of an epoch, next in an endless sequence of permutations of them,
        and the number of the permutation that each one is of."""
        start = number * self._num_replayed
        end = start + self._num_replayed
        indices = [torch.empty(0, dtype=torch.int64)]
        passes = [torch.empty(0, dtype=torch.int64)]
        while start < end:
            turn, offset = divmod(start, self._num_old)
            seed = derive_seed("replay", self._seed)
            order = epoch_order(self._num_old, seed=seed, stage=self._stage, epoch=turn)
            indices.append(order[offset : offset + end - start])
            passes.append(torch.full_like(indices[-1], turn))
            start += len(indices[-1])
        return torch.cat(indices), torch.cat(passes)
