"""How a finished model does on labelled images: those that are stored with it, or a source's.

Shape suffixes: B batch, H height, W width, C channels, K classes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import StageManifest
from accrete.config.run import SourceConfig
from accrete.data.images import DecodingBudget, Pixels
from accrete.data.prepare import decoded_items
from accrete.data.shards import ShardReader
from accrete.data.sources.base import Item
from accrete.errors import InputError, SourceError
from accrete.models.image_files import fit_pixels
from accrete.models.predictor import Predictor
from accrete.store.cache import NodeCache
from accrete.training.evaluation import Evaluation

Batch = tuple[Pixels, NDArray[np.int64]]
"""Images (B, H, W, C) as the model takes them, and their labels (B,)."""


def evaluate_batches(predictor: Predictor, batches: Iterable[Batch]) -> Evaluation:
    """Return how a model does on some images, at least one, in fp32.

    Args:
        predictor: the model.
        batches: images and labels, in their order.
    """
    num_classes = len(predictor.class_names)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    right: list[NDArray[np.uint8]] = []
    loss_sum = 0.0
    for images_BHWC, labels_B in batches:
        logits_BK = predictor.logits(images_BHWC)
        predicted_B = logits_BK.argmax(1).numpy()
        wanted_B = torch.from_numpy(labels_B)
        loss_sum += float(functional.cross_entropy(logits_BK, wanted_B, reduction="sum"))
        np.add.at(confusion, (labels_B, predicted_B), 1)
        right.append((predicted_B == labels_B).astype(np.uint8))
    return Evaluation(
        confusion=confusion.tolist(),
        loss=loss_sum / max(1, int(confusion.sum())),
        right=b"".join(part.tobytes() for part in right),
    )


def stored_batches(
    manifest: StageManifest, split: str, catalog: Catalog, cache: NodeCache, batch_size: int
) -> Iterator[Batch]:
    """Yield the images of a split of the data set that a stage was trained from, by label.

    Args:
        manifest: the stage.
        split: `train`, `validation` or `test`.
        catalog: where the data set is.
        cache: gets its shards.
        batch_size: images at once.

    Raises:
        InputError: there is no image in that split.
        ObjectMissingError, IntegrityError: the data set or a shard is gone, or was changed.
    """
    dataset = catalog.dataset(manifest.dataset)
    by_name = dataset.by_name
    entries = [by_name[name] for name in manifest.class_names]
    counts = [entry.num_images(split) for entry in entries]
    if not sum(counts):
        raise InputError(
            f"the data set of stage {manifest.digest[:12]} has no {split} images: give some with "
            "--data, or another --split"
        )
    shards = [shard for entry in entries for shard in entry.shards(split)]
    paths = cache.fetch(shards).paths
    reader = ShardReader(
        [paths[shard.sha256] for shard in shards], dataset.image, num_images=sum(counts)
    )
    labels = np.repeat(np.arange(len(entries)), counts)
    for first in range(0, len(labels), batch_size):
        indices = np.arange(first, min(first + batch_size, len(labels)))
        yield reader.read(indices), labels[indices]


@dataclass(slots=True, kw_only=True)
class SourceImages:
    """Images of a source, of the classes that a model has; counts what it leaves out."""

    title: str
    """Which they are, in words."""
    items: Iterator[Item]
    """What the source has, in its order."""
    splits: frozenset[str]
    """Those of which images are taken."""
    config: SourceConfig
    """Says what is done with a bad image."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Images by class that the model does not have."""
    num_bad: int = 0
    """Bad images that were left out."""

    def batches(self, manifest: StageManifest, batch_size: int) -> Iterator[Batch]:
        """Yield the images as a model takes them, with its labels.

        Raises:
            SourceError: no image is of a class that the model has.
            BadImageError: an image cannot be decoded, and is not to be skipped.
        """
        label_of = {name: label for label, name in enumerate(manifest.class_names)}
        images: list[Pixels] = []
        labels: list[int] = []
        num_images = 0
        known = self._known(label_of)
        for decoded in decoded_items(known, self.config, None, DecodingBudget()):
            if decoded.pixels is None:
                self.num_bad += 1
                continue
            images.append(fit_pixels(decoded.pixels, manifest.image))
            labels.append(label_of[decoded.item.class_name])
            num_images += 1
            if len(images) == batch_size:
                yield np.stack(images), np.array(labels)
                images, labels = [], []
        if images:
            yield np.stack(images), np.array(labels)
        if not num_images:
            raise SourceError(self._why_none(manifest))

    def _known(self, label_of: Mapping[str, int]) -> Iterator[Item]:
        for item in self.items:
            if item.split in self.splits:
                if item.class_name in label_of:
                    yield item
                else:
                    self.unknown[item.class_name] += 1

    def _why_none(self, manifest: StageManifest) -> str:
        where = self.config.location or f"source {self.config.kind}"
        if self.num_bad:
            return f"{where} has no image that can be decoded: {self.num_bad:,} are bad"
        if not self.unknown:
            return f"{where} has no image in its split {', '.join(sorted(self.splits))}"
        theirs, own = next(iter(self.unknown)), manifest.class_names[0]
        return (
            f"{where} has no image of a class that the model has: it has {len(self.unknown):,} "
            f"others, such as {theirs!r}, and the model {len(manifest.class_names):,}, such as "
            f"{own!r}; names must be equal"
        )
