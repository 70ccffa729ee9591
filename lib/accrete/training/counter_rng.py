"""Random numbers as a function of a key and a counter, the same on every device.

No generator state: what step 70,000 draws can be computed without the steps before it, on the GPU
that needs it, and however many processes share the batch. The mixing function is the finalizer of
SplitMix64 (Steele, Lea, Flood 2014, https://doi.org/10.1145/2714064.2660195).
"""

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def random_integers(key: int, counters: Tensor) -> Tensor:
    """Return uniform integers 0..2**31-1, one for each counter.

    Args:
        key: 63-bit seed of the stream, from `hashing.derive_seed`.
        counters: int64, any shape; equal counters give equal numbers.
    """
    bits = counters * _signed(_GOLDEN) + key
    bits = (bits ^ _shifted(bits, 30)) * _signed(_MULTIPLIERS[0])
    bits = (bits ^ _shifted(bits, 27)) * _signed(_MULTIPLIERS[1])
    return _shifted(bits, 33)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Return bits shifted right with zeros coming in: torch's own shift repeats the sign."""
    return torch.bitwise_and(torch.bitwise_right_shift(bits, places), (1 << (64 - places)) - 1)


def _signed(constant: int) -> int:
    """Return the int64 with the same 64 bits."""
    return constant - (1 << 64) if constant >= 1 << 63 else constant
