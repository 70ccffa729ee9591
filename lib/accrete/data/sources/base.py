"""What every image source offers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from accrete.config.classes import check_class_names
from accrete.data.images import Pixels
from accrete.errors import EmptyClassError

Counts = Mapping[str, Mapping[str, int]]
"""Images by split of the source (`train`, maybe `validation` and `test`) and class name; classes in
the source's own order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One labelled image."""

    place: str
    """File or row, for errors."""
    class_name: str
    """Its class."""
    split: str
    """The source's own split."""
    load: Callable[[], bytes | Pixels]
    """Reads the encoded file, or gives pixels (height, width, channels); safe in any thread."""


class Source(Protocol):
    """Labelled images in a stable order."""

    def counts(self) -> Counts:
        """Return images per split and class, from labels or names alone; decodes nothing.

        Raises:
            LabelError: a label names no class.
            EmptyClassError: a class has no training image.
        """
        ...

    def fingerprint(self) -> str:
        """Return a digest that changes whenever an image or a label does."""
        ...

    def items(self) -> Iterator[Item]:
        """Yield every image, in the same order each time."""
        ...


def check_classes(train_counts: Mapping[str, int], place: str) -> None:
    """Refuse a class without training images, and names that cannot name one.

    Raises:
        EmptyClassError: names the first.
        LabelError: the same.
    """
    check_class_names(train_counts, place)
    for name, count in train_counts.items():
        if count == 0:
            raise EmptyClassError(
                f"class {name!r} of {place} has no training image: add some or remove the class"
            )
    if not train_counts:
        raise EmptyClassError(f"{place} has no class with images")
