"""What images a data set holds and a model takes: size, channels, encoding, scaling. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFormat:
    """How images are stored and what a model gets."""

    encoding: str
    """`raw`: uint8 rows (height, width, channels); `encoded`: files, decoded when training."""
    height: int
    """Pixels, after preprocessing."""
    width: int
    """Pixels, after preprocessing."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    preprocessing: str
    """What turns a decoded image into this size: `none` or `short-side-center-crop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Per-channel statistics of all training images, scaled to 0..1."""

    mean: tuple[float, ...]
    """One value a channel."""
    std: tuple[float, ...]
    """One value a channel, above 0."""
