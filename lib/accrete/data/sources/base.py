"""What every image source offers."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol, TypeVar, runtime_checkable

from accrete.data.images import Pixels

T = TypeVar("T")

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
    peek: Callable[[], bytes] | None = None
    """Reads the begin of the encoded file alone, where that is cheaper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is no image of the set."""

    place: str
    """Its name below the source's root."""
    reason: str
    """Why, in a word or two that many files share: `.txt`, `empty`, `hidden`."""


def why_unread(name: str) -> str:
    """Return in a word why a file is not read, where its kind is: `.txt`, `no ending`."""
    return PurePosixPath(name).suffix.lower() or "no ending"


def reasons(left_out: Sequence[LeftOut], most: int = 6) -> str:
    """Return why files are left out, the most frequent reasons first: `.txt ×2, empty ×1`."""
    counted = Counter(file.reason for file in left_out).most_common()
    shown = [f"{reason} ×{count:,}" for reason, count in counted[:most]]
    rest = sum(count for _, count in counted[most:])
    return ", ".join([*shown, f"others ×{rest:,}"] if rest else shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a source was understood to be, for people."""

    layout: str
    """A sentence without its stop: `train and test below dataset/, a folder a class`."""
    num_files: int = 0
    """Files that are there, the ones left out included; 0: it is no matter of files."""
    left_out: tuple[LeftOut, ...] = ()
    """Files that are not read."""
    columns: tuple[str, ...] = ()
    """What each column is used for and why: `image: img, the only one with images`."""
    notes: tuple[str, ...] = ()
    """What else somebody should know: names that were trimmed, splits without labels."""


class Source(Protocol):
    """Labelled images in a stable order."""

    def reading(self) -> Reading:
        """Return what the source was understood to be; may read labels, decodes nothing."""
        ...

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

    def sample(self, most: int) -> Sequence[Item]:
        """Return some images from all over the source, reading little."""
        ...


@runtime_checkable
class ClassByClass(Protocol):
    """A source that can tell whether some classes alone have changed."""

    def fingerprint_of(self, class_names: Collection[str]) -> str:
        """Return a digest that changes whenever an image of these classes does."""
        ...


def evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """Return some of many items, evenly spread."""
    if len(items) <= most:
        return items
    return [items[number * len(items) // most] for number in range(most)]
