"""Stratified splits: which images of a class are set aside, by seed. Pure."""

import hashlib
from dataclasses import dataclass

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
    test = _share(num_images, test_fraction)
    validation = _share(num_images - test, validation_fraction)
    train = num_images - test - validation
    if train < 1:
        raise EmptyClassError(
            f"class {name!r} has {num_images} images, which leaves {max(train, 0)} for training: "
            "add images, remove the class or set less aside"
        )
    return SplitSizes(train=train, validation=validation, test=test)


def _share(num_images: int, fraction: float) -> int:
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
