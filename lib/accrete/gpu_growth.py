"""How many GPUs each stage asks for: a list, one number, or more as the seen data grow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from accrete.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GrowingGpus:
    """GPUs that grow with |D_j|, up to a number."""

    most: int
    """GPUs of the stage that sees all data."""

    def of_stages(self, num_images: Sequence[int], batch_size: int) -> tuple[int, ...]:
        """Return each stage's GPUs: the most, times its share |D_j| / |D_T|, rounded down.

        Rounded down to a number that divides the batch, since every GPU takes an equal part of it,
        and at least 1. So a stage has no fewer than the one before, and the images per GPU are at
        least |D_T| / most wherever there is more than one.

        Args:
            num_images: |D_j| of each stage, not falling.
            batch_size: images of a step.
        """
        divisors = [n for n in range(1, self.most + 1) if batch_size % n == 0]
        return tuple(
            max(n for n in divisors if n == 1 or n * num_images[-1] <= self.most * images)
            for images in num_images
        )


def parse_gpus(text: str) -> tuple[int, ...] | GrowingGpus:
    """Return the GPUs of `2`, of the list `1,1,2,4`, or of `auto:8`.

    Raises:
        ConfigError: not of these forms.
    """
    if re.fullmatch(r"auto:[0-9]{1,4}", text):
        most = int(text.partition(":")[2])
        if most:
            return GrowingGpus(most)
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"GPUs are {text!r}: give 1, 1,1,2,4,4 or auto:8") from None
