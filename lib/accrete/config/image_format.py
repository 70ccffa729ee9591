"""What images a data set holds and a model takes: size, channels, encoding, scaling. Pure."""

from dataclasses import dataclass

from accrete.core.validation import check_choice, check_range
from accrete.errors import ConfigError

MAX_PIXELS = 64_000_000
"""A larger image is refused before it is decoded: 64 megapixels are 192 MB of RGB."""


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

    def __post_init__(self) -> None:
        check_choice("encoding", self.encoding, ("raw", "encoded", ""))
        check_choice("preprocessing", self.preprocessing, ("none", "short-side-center-crop"))
        check_choice("number of channels", str(self.channels), ("1", "3"))
        check_range("image height", self.height, 1, MAX_PIXELS)
        check_range("image width", self.width, 1, MAX_PIXELS // self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Per-channel statistics of all training images, scaled to 0..1."""

    mean: tuple[float, ...]
    """One value a channel."""
    std: tuple[float, ...]
    """One value a channel, above 0."""

    def __post_init__(self) -> None:
        for value in self.mean:
            check_range("mean", value, -1e3, 1e3)
        for value in self.std:
            check_range("standard deviation", value, 1e-9, 1e3)


def check_scaling(image: ImageFormat, normalization: Normalization) -> None:
    """Refuse statistics of another number of channels than the images have.

    Raises:
        ConfigError: they differ.
    """
    for what, values in (("means", normalization.mean), ("deviations", normalization.std)):
        if len(values) != image.channels:
            raise ConfigError(
                f"there are {len(values)} {what}, but the images have {image.channels} channels"
            )
