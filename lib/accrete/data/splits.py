"""Which images train, validate and test: the source's own splits, else stratified ones by seed.

Works on counts and positions alone, so that planning and preparing agree without decoding.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

from accrete.catalog.manifests import SplitPolicy
from accrete.config.run import SourceConfig
from accrete.data.sources.base import Counts, Item
from accrete.errors import EmptyClassError


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSizes:
    """How a class's images divide."""

    train: int
    """Left for training."""
    validation: int
    """Set aside to choose on."""
    test: int
    """Set aside for testing."""


def split_sizes(
    num_images: int, *, test_fraction: float, validation_fraction: float, name: str
) -> SplitSizes:
    """Return how many of a class's images go where; halves round to the larger side.

    Args:
        num_images: images of the class.
        test_fraction: 0 where the source has a test split of its own.
        validation_fraction: of what the test split leaves.
        name: the class, for errors.

    Raises:
        EmptyClassError: no image is left for training.
    """
    test = _set_aside(num_images, test_fraction)
    validation = _set_aside(num_images - test, validation_fraction)
    train = num_images - test - validation
    if train < 1:
        raise EmptyClassError(
            f"class {name!r} has {num_images} images, which leaves {max(train, 0)} for training: "
            "add images, remove the class or set less aside"
        )
    return SplitSizes(train=train, validation=validation, test=test)


def _set_aside(num_images: int, fraction: float) -> int:
    """Return a fraction of some images: at least one where any is asked for and can be spared."""
    if fraction == 0 or num_images < 2:
        return 0
    return min(num_images - 1, max(1, int(num_images * fraction + 0.5)))


def assign_splits(sizes: SplitSizes, name: str, seed: int) -> list[str]:
    """Return the split of each of a class's images, in the source's order.

    Images are ranked by the SHA-256 of seed, class and position: the same everywhere.
    """
    num_images = sizes.train + sizes.validation + sizes.test
    ranked = sorted(range(num_images), key=lambda position: _rank(name, seed, position))
    splits = ["train"] * num_images
    for position in ranked[: sizes.test]:
        splits[position] = "test"
    for position in ranked[sizes.test : sizes.test + sizes.validation]:
        splits[position] = "validation"
    return splits


def _rank(name: str, seed: int, position: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}\0{position}".encode()).digest()


def split_policy(counts: Counts, config: SourceConfig) -> SplitPolicy:
    """Return how a source's images are split; what the source brings itself is used as it is."""
    has_test = "test" in counts
    return SplitPolicy(
        test="source" if has_test else "stratified",
        test_fraction=0.0 if has_test else config.test_fraction,
        validation_fraction=0.0 if "validation" in counts else config.validation_fraction,
        seed=config.split_seed,
    )


def class_splits(counts: Counts, policy: SplitPolicy) -> dict[str, SplitSizes]:
    """Return how each class's images of the source's training split divide.

    Raises:
        EmptyClassError: a class keeps no training image.
    """
    return {
        name: split_sizes(
            count,
            test_fraction=policy.test_fraction,
            validation_fraction=policy.validation_fraction,
            name=name,
        )
        for name, count in counts["train"].items()
    }


def training_counts(counts: Counts, config: SourceConfig) -> dict[str, int]:
    """Return the training images of each class, what a plan is made from."""
    sizes = class_splits(counts, split_policy(counts, config))
    return {name: size.train for name, size in sizes.items()}


class Allotment:
    """Gives each image of a source its split, in the source's order."""

    def __init__(self, counts: Counts, policy: SplitPolicy) -> None:
        """Draw the stratified splits."""
        self._splits = {
            name: assign_splits(sizes, name, policy.seed)
            for name, sizes in class_splits(counts, policy).items()
        }
        self._positions: Counter[str] = Counter()

    def split_of(self, item: Item) -> str:
        """Return the split of the next image of its class."""
        if item.split != "train":
            return item.split
        position = self._positions[item.class_name]
        self._positions[item.class_name] += 1
        return self._splits[item.class_name][position]
