"""Which images train, validate and test: the source's own splits, else stratified ones.

Works on counts and positions alone, so that planning and preparing agree without decoding.
"""

from collections import Counter

from accrete.config import SourceConfig
from accrete.manifests import SplitPolicy
from accrete.sources.base import Counts, Item
from accrete.split import SplitSizes, assign_splits, split_sizes


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
