"""What happens to a batch of training images on its device: crop, mirror, scale, normalize.

All of it is batched; what is drawn is a pure function of (seed, step, place in the batch), so it
does not depend on the device, on the steps before or on how many processes share the batch.

Shape suffixes: B batch, H height, W width, C channels.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from accrete.config.image_format import Normalization
from accrete.core.hashing import derive_seed
from accrete.training.counter_rng import random_integers

_DRAWN_STEPS = 64
"""Steps drawn for at once: a few small kernels each time, which at every step would show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What happens to a training image."""

    flip: str
    """Mirror left-right: `none`; `random`, with probability 1/2; `alternating`: one side in even
    epochs and the other in odd ones, at random which (Jordan 2024, arXiv:2404.00498)."""
    crop_padding: int
    """Zero pixels around the image before a random crop of its own size; 0: no crop."""
    side: int | None = None
    """Shorter side in pixels that images are scaled down to; None: they stay as they are."""


def normalize(images_BHWC: Tensor, normalization: Normalization) -> Tensor:
    """Return uint8 images as float32 (B, C, H, W) in channels_last, (x/255 - mean) / std each."""
    height, width, channels = images_BHWC.shape[1:]
    # Whole rows at once: over three channels alone a CPU's loop would be eight times slower.
    mean, scale = _row_constants(normalization, width, images_BHWC.device)
    rows = images_BHWC.reshape(-1, width * channels).to(torch.float32)
    scaled = rows.sub_(mean).mul_(scale)
    return scaled.view(-1, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _row_constants(
    normalization: Normalization, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what to subtract from a row of pixels (W*C,) and then to multiply it by."""
    mean = torch.tensor(normalization.mean, dtype=torch.float64)
    std = torch.tensor(normalization.std, dtype=torch.float64)
    rows = [(255 * mean).repeat(width), (1 / (255 * std)).repeat(width)]
    return rows[0].to(device, torch.float32), rows[1].to(device, torch.float32)


def scaled_size(height: int, width: int, side: int | None) -> tuple[int, int]:
    """Return height and width with the shorter one brought down to `side`, if it is longer."""
    shorter = min(height, width)
    if side is None or side >= shorter:
        return height, width
    return round(height * side / shorter), round(width * side / shorter)


class Augmenter:
    """Augments the batches of one run's stage."""

    def __init__(self, augmentation: Augmentation, *, seed: int, batch_size: int) -> None:
        """Augment as said.

        Args:
            augmentation: what to do.
            seed: of the run.
            batch_size: images in a batch, of all processes together.
        """
        self.augmentation = augmentation
        self._batch_size = batch_size
        self._key = derive_seed("augment", seed)
        self._flip_key = derive_seed("flip", seed)
        self._drawn: tuple[int, Tensor] | None = None

    def draws(self, steps: range, places: slice, device: torch.device) -> Tensor:
        """Return what is drawn for some steps' images (3, B): row and column of the crop,
        mirroring.

        Args:
            steps: global steps, one after the other.
            places: which places of each whole batch the images have.
            device: where they lie.
        """
        drawn = [self._of_step(step, device)[:, places] for step in steps]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn, 1)

    def cut(self, images_BHWC: Tensor, draws: Tensor) -> Tensor:
        """Return uint8 images (B, H, W, C), each cropped at an offset of its own.

        Args:
            images_BHWC: uint8.
            draws: theirs.
        """
        pad = self.augmentation.crop_padding
        if not pad:
            return images_BHWC
        num_images, height, width, channels = images_BHWC.shape
        padded = functional.pad(images_BHWC, (0, 0, pad, pad, pad, pad))
        offsets = draws[:2] % (2 * pad + 1)
        padded_height, padded_width = height + 2 * pad, width + 2 * pad
        device = images_BHWC.device
        first_rows = torch.arange(num_images, device=device) * padded_height + offsets[0]
        rows = first_rows[:, None] + torch.arange(height, device=device)
        starts = rows * padded_width + offsets[1][:, None]
        # Every run of W pixels as a row of a view: one gather of whole rows cuts all images.
        num_runs = num_images * padded_height * padded_width - width + 1
        runs = padded.view(-1).as_strided((num_runs, width * channels), (channels, 1))
        return runs.index_select(0, starts.view(-1)).view(images_BHWC.shape)

    @staticmethod
    def mirrored(images_BHWC: Tensor, flips_B: Tensor) -> Tensor:
        """Return the images, those that are marked mirrored left-right."""
        return torch.where(flips_B.view(-1, 1, 1, 1), images_BHWC.flip(2), images_BHWC)

    @staticmethod
    def random_flips(draws: Tensor) -> Tensor:
        """Return which images (B,) bool to mirror: half of them, by chance."""
        return draws[2] % 2 == 1

    def alternating_flips(self, indices_B: Tensor, passes_B: Tensor) -> Tensor:
        """Return which images (B,) bool to mirror: each every other time that it comes."""
        return (random_integers(self._flip_key, indices_B) + passes_B) % 2 == 1

    def scaled_down(self, images_BCHW: Tensor) -> Tensor:
        """Return float images with their shorter side at the augmentation's, in channels_last."""
        height, width = images_BCHW.shape[2:]
        size = scaled_size(height, width, self.augmentation.side)
        if size == (height, width):
            return images_BCHW
        scaled = functional.interpolate(
            images_BCHW, size=size, mode="bilinear", antialias=True, align_corners=False
        )
        return scaled.contiguous(memory_format=torch.channels_last)

    def _of_step(self, step: int, device: torch.device) -> Tensor:
        """Return the integers (3, batch_size) of a step's whole batch."""
        block, number = divmod(step, _DRAWN_STEPS)
        if self._drawn is None or self._drawn[0] != block:
            count = _DRAWN_STEPS * 3 * self._batch_size
            counters = torch.arange(block * count, (block + 1) * count, device=device)
            drawn = random_integers(self._key, counters)
            self._drawn = block, drawn.view(_DRAWN_STEPS, 3, self._batch_size)
        return self._drawn[1][number]
