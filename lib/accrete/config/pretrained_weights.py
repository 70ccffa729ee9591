"""Trained weights that a run begins from: what is stored of them, and what images they expect."""

from dataclasses import dataclass
from statistics import fmean

from accrete.config.image_format import Normalization
from accrete.core.validation import MAX_COUNT, check_range, check_sha256
from accrete.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedWeights:
    """A trained trunk in the store, which a run's first stage begins from; it has no head."""

    origin: str
    """The file that it was read from, for people: no part of any identity."""
    file_sha256: str
    """Of that file, 64 hex digits; likewise."""
    sha256: str
    """The trunk in the store, 64 hex digits."""
    num_bytes: int
    """Size of that."""
    normalization: Normalization
    """How its input was scaled, one value for each channel that it takes."""
    image_side: int | None = None
    """Pixels of the shorter side of the images that it was made for, as far as is known; no part of
    any identity."""

    def __post_init__(self) -> None:
        check_sha256("the SHA-256 of a file of weights", self.file_sha256)
        check_sha256("the SHA-256 of stored weights", self.sha256)
        check_range("the size of stored weights", self.num_bytes, 0, MAX_COUNT)
        counts = len(self.normalization.mean), len(self.normalization.std)
        if counts not in ((1, 1), (3, 3)):
            raise ConfigError(
                f"weights {self.origin} have {counts[0]} means and {counts[1]} deviations: it must "
                "be one of each for grey images, three for colour"
            )

    def normalization_for(self, channels: int, *, takes_any: bool) -> Normalization:
        """Return how images are scaled for these weights.

        A network made for colour sees a grey image three times: such an image is scaled by the
        means over the three channels. One that saw grey images so scales each channel alike.

        Args:
            channels: of the images, 1 or 3.
            takes_any: whether the network takes grey and colour images with the same weights.

        Raises:
            ConfigError: the weights are for another number of channels.
        """
        mean, std = self.normalization.mean, self.normalization.std
        if len(mean) == channels:
            return self.normalization
        if not takes_any:
            taken, these = ("colour", "grey") if channels == 1 else ("grey", "in colour")
            raise ConfigError(
                f"weights {self.origin} take {taken} images, but these are {these}: give others, "
                "or another --model"
            )
        if channels == 1:
            return Normalization(mean=(round(fmean(mean), 9),), std=(round(fmean(std), 9),))
        return Normalization(mean=mean * channels, std=std * channels)
