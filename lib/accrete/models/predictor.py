"""What a trained network takes images for.

Shape suffixes: B batch, H height, W width, C channels, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accrete.catalog.manifests import StageManifest
from accrete.config.image_format import ImageFormat
from accrete.core.processes import available_cpus
from accrete.core.validation import check_range
from accrete.data.images import DecodingBudget, Pixels
from accrete.errors import BadImageError, CheckpointMismatchError, ConfigError, OutOfMemoryError
from accrete.models.checkpoint import load_checkpoint, load_weights
from accrete.models.image_files import FittedImage, read_image
from accrete.models.networks import Classifier, build_model
from accrete.store.cache import NodeCache
from accrete.training.augmentation import normalize


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A network, and all that is known of it."""

    manifest: StageManifest
    """The stage that made it: classes, image format, normalization."""
    network: Classifier
    """M_j, in evaluation mode, on the CPU."""


def load_model(manifest: StageManifest, cache: NodeCache) -> TrainedModel:
    """Return a stage's network; its checkpoint is fetched where the cache lacks it.

    Raises:
        CheckpointMismatchError: the checkpoint has other classes or another network.
        IntegrityError: its bytes are not those that the manifest names.
    """
    ref = manifest.checkpoint
    checkpoint = load_checkpoint(cache.fetch([ref]).paths[ref.sha256])
    if checkpoint.info.class_names != manifest.class_names:
        raise CheckpointMismatchError(
            f"stage {manifest.digest[:12]} has {len(manifest.class_names)} classes, its checkpoint "
            f"has {len(checkpoint.info.class_names)}, or others: delete its manifest and run again"
        )
    network = build_model(
        manifest.model,
        channels=manifest.image.channels,
        num_classes=len(manifest.class_names),
        seed=manifest.seed,
    )
    load_weights(network, checkpoint)
    network = network.eval().to(memory_format=torch.channels_last)
    return TrainedModel(manifest=manifest, network=network)


_DEFAULT_TOP = 3


@dataclass(frozen=True, slots=True)
class Guess:
    """A class that an image may be of."""

    class_name: str
    """The class."""
    label: int
    """Its position in the class order."""
    probability: float
    """0..1."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one image was taken for."""

    file: Path
    """The image."""
    guesses: tuple[Guess, ...]
    """The likeliest classes, the best first."""


class Predictor:
    """Classifies images in batches."""

    def __init__(
        self, trained: TrainedModel, device: torch.device, *, top: int | None, batch_size: int
    ) -> None:
        """Classify with a network.

        Args:
            trained: the network.
            device: where it computes.
            top: classes to tell of each image, 1..K; None: three, or all where there are fewer.
            batch_size: images computed at once.

        Raises:
            ConfigError: a number is outside its range.
        """
        self.image: ImageFormat = trained.manifest.image
        self.class_names = trained.manifest.class_names
        self.top = _checked_top(top, len(self.class_names))
        check_range("batch size", batch_size, 1, 65536)
        self.batch_size = batch_size
        self._normalization = trained.manifest.normalization
        self._device = device
        self._network = trained.network.to(device)

    @torch.no_grad()
    def logits(self, images_BHWC: Pixels) -> Tensor:
        """Return each class's logit (B, K), float32 on the CPU.

        Args:
            images_BHWC: uint8, of the model's image format.

        Raises:
            OutOfMemoryError: the batch does not fit the device.
        """
        try:
            images = torch.from_numpy(images_BHWC).to(self._device)
            logits_BK = self._network(normalize(images, self._normalization))
            as_float: Tensor = logits_BK.float().cpu()
            return as_float
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"a batch of {len(images_BHWC)} images does not fit the memory of {self._device}: "
                "give a smaller --batch-size"
            ) from error

    def probabilities(self, images_BHWC: Pixels) -> Tensor:
        """Return each class's probability (B, K), float32 on the CPU; as `logits` otherwise."""
        return torch.softmax(self.logits(images_BHWC), dim=1)

    def guesses(self, images_BHWC: Pixels) -> list[tuple[Guess, ...]]:
        """Return the likeliest classes of each image, the best first; of equals, the earlier."""
        ranked = torch.sort(self.probabilities(images_BHWC), dim=1, descending=True, stable=True)
        values, labels = (part[:, : self.top].tolist() for part in ranked)
        return [
            tuple(Guess(self.class_names[k], k, p) for k, p in zip(*row, strict=True))
            for row in zip(labels, values, strict=True)
        ]


def predict_files(
    predictor: Predictor, files: Sequence[Path], *, skip_bad: bool, tell: Callable[[str], None]
) -> Iterator[Prediction]:
    """Yield what each image is taken for, in the files' order; only a batch is in memory at once.

    Args:
        predictor: classifies.
        files: image files.
        skip_bad: leave out images that cannot be read or decoded, and tell at the end how many.
        tell: gets a line about what happened to the images beside their classification.

    Raises:
        BadImageError: an image cannot be read or decoded, and is not to be skipped.
    """
    notes = _Notes(predictor.image, tell)
    budget = DecodingBudget()
    with ThreadPoolExecutor(available_cpus()) as pool:
        for start in range(0, len(files), predictor.batch_size):
            batch = files[start : start + predictor.batch_size]
            read = list(pool.map(_read, count(), batch, repeat(predictor.image), repeat(budget)))
            fitted = list(_usable(batch, read, notes, skip_bad=skip_bad))
            if fitted:
                stacked = np.stack([image.pixels for _, image in fitted])
                for (path, _), found in zip(fitted, predictor.guesses(stacked), strict=True):
                    yield Prediction(path, found)
    notes.tell_left_out()


def _read(
    turn: int, path: Path, image: ImageFormat, budget: DecodingBudget
) -> FittedImage | BadImageError:
    try:
        return read_image(path, image, partial(budget.admit, turn))
    except BadImageError as error:
        return error
    finally:
        budget.release(turn)


def _usable(
    files: Sequence[Path],
    read: Sequence[FittedImage | BadImageError],
    notes: "_Notes",
    *,
    skip_bad: bool,
) -> Iterator[tuple[Path, FittedImage]]:
    for path, image in zip(files, read, strict=True):
        if isinstance(image, FittedImage):
            notes.look_at(path, image)
            yield path, image
        elif skip_bad:
            notes.left_out.append(path)
        else:
            raise image


class _Notes:
    """What a user should know of the images, each said once."""

    def __init__(self, image: ImageFormat, tell: Callable[[str], None]) -> None:
        self.left_out: list[Path] = []
        self._image, self._tell = image, tell
        self._told_colour = False
        self._told_size = image.preprocessing != "none"

    def look_at(self, path: Path, fitted: FittedImage) -> None:
        if fitted.lost_colour and not self._told_colour:
            self._told_colour = True
            self._tell(f"{path} is in colour and the model takes grey: such images are converted")
        size = (self._image.height, self._image.width)
        if fitted.size != size and not self._told_size:
            self._told_size = True
            self._tell(
                f"{path} has {fitted.size[1]}x{fitted.size[0]} px, all training images had "
                f"{size[1]}x{size[0]}: such images are scaled to cover that, and cropped"
            )

    def tell_left_out(self) -> None:
        if self.left_out:
            self._tell(
                f"bad images left out: {len(self.left_out):,}, the first is {self.left_out[0]}"
            )


def _checked_top(top: int | None, num_classes: int) -> int:
    if top is None:
        return min(_DEFAULT_TOP, num_classes)
    if not 1 <= top <= num_classes:
        raise ConfigError(
            f"top is {top}: the stage has {num_classes} classes, "
            f"give a number from 1 to {num_classes}"
        )
    return top
